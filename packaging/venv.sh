#!/bin/sh
# Makes the checkout's own .venv: `sh packaging/venv.sh` for the tools, `sh packaging/venv.sh test` for the tests too.
# .venv/src/hookrun holds links to the checkout's folders, so that an edit is in effect at once.
set -eu
cd "$(dirname "$0")/.."

python=/usr/bin/python3
venv=.venv
test -x $venv/bin/python || $python -m venv $venv

# The program that starts warm, built beside the rest; where it can't be, hookrun starts cold.
start="$PWD/wrapper/start/bin/hookrun-start"
building=""
if [ ! -e "$start" ] || [ -n "$(find wrapper hooks policies runtime packaging -name '*.[cphs]*' -newer "$start")" ]; then
    { sh packaging/fetch-simplejson.sh $venv > /dev/null && sh packaging/build-start.sh "$start"; } &
    building=$!
fi

list_requirements() {
    $python - "$@" <<'PY'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
wanted = list(project["dependencies"])
for extra in ("fleet", *sys.argv[1:]):
    wanted += project["optional-dependencies"][extra]
print("\n".join(wanted))
PY
}

list_requirements "$@" > $venv/requirements.wanted
if ! cmp -s $venv/requirements.wanted $venv/requirements.installed; then
    $venv/bin/pip install --quiet --disable-pip-version-check -r $venv/requirements.wanted
    mv $venv/requirements.wanted $venv/requirements.installed
fi

src="$PWD/$venv/src"
mkdir -p "$src/hookrun"
for folder in wrapper hooks policies runtime; do
    ln -sfn "$PWD/$folder" "$src/hookrun/$folder"
done
libraries=$($venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$src" > "$libraries/hookrun-src.pth"
# What a call that starts cold looks for beside hookrun.
ln -sfn "$libraries/google" "$src/google"

write_script() {
    printf '%s\n' "$2" > "$venv/bin/$1.new"
    chmod 755 "$venv/bin/$1.new"
    mv "$venv/bin/$1.new" "$venv/bin/$1"
}
write_script hookctl "#!$PWD/$venv/bin/python
import sys

from hookrun.wrapper.admin.app import main

sys.exit(main())"
# Its snapshot, its record and its heap are the checkout's own too.
mkdir -p $venv/state
test -z "$building" || wait "$building" || echo "venv.sh: hookrun will start slowly" >&2
cold="#!$python -ISXutf8
import sys

sys.path.append('$src')
from hookrun.wrapper.entry import main

main('$PWD/$venv/state')"
if [ -e "$start" ]; then
    write_script hookrun "#!$start $PWD/$venv/state/heap
$cold"
    $venv/bin/python -m hookrun.wrapper.start.program $venv/state
else
    write_script hookrun "$cold"
fi
