#!/bin/sh
# Installs hookrun under DESTDIR as the .deb and the .rpm have it, with its pages and completions generated:
#   sh packaging/install.sh DESTDIR [UNIT-DIRECTORY [ZSH-DIRECTORY]]
set -eu
cd "$(dirname "$0")/.."

destination=$1
units=${2:-/usr/lib/systemd/system}
zsh=${3:-/usr/share/zsh/site-functions}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

put() { install -D -m "$1" "$2" "$destination$3"; }

# Where it can't be built, hookrun starts cold.
put_start() {
    if sh packaging/build-start.sh "$work/hookrun-start"; then
        put 755 "$work/hookrun-start" /usr/lib/hookrun/hookrun-start
        put 755 packaging/launcher/system-hookrun /usr/sbin/hookrun
    else
        sed 1d packaging/launcher/system-hookrun > "$work/hookrun"
        put 755 "$work/hookrun" /usr/sbin/hookrun
    fi
}

put_package() {
    find wrapper hooks policies runtime -type f \( -name '*.py' -o -name '*.json' -o -name '*.html' -o -name '*.yaml' \) -not -path 'wrapper/start/freeze.py' |
        while read -r file; do put 644 "$file" "/usr/share/hookrun/$file"; done
    put 755 packaging/launcher/system-hookctl /usr/bin/hookctl
    install -d "$destination/etc/hookrun/policies.d" "$destination/etc/hookrun/hooks.d"
}

put_units() {
    for unit in packaging/systemd/*; do put 644 "$unit" "$units/${unit##*/}"; done
}

generate() {
    mkdir "$work/lib" "$work/man" "$work/completions"
    ln -s "$PWD" "$work/lib/hookrun"
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$work/lib /usr/bin/python3 packaging/man.py "$work/man"
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$work/lib /usr/bin/python3 packaging/completions.py "$work/completions"
}

put_generated() {
    for page in "$work"/man/*; do put 644 "$page" "/usr/share/man/man${page##*.}/${page##*/}"; done
    for name in hookrun hookctl; do
        put 644 "$work/completions/$name.bash" "/usr/share/bash-completion/completions/$name"
        put 644 "$work/completions/$name.zsh" "$zsh/_$name"
        put 644 "$work/completions/$name.fish" "/usr/share/fish/vendor_completions.d/$name.fish"
    done
}

put_start
put_package
put_units
generate
put_generated
