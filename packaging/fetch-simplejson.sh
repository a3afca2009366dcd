#!/bin/sh
# Puts the sources of simplejson, whose C part hookrun-start is built with, into a directory:
#   sh packaging/fetch-simplejson.sh OUTPUT-DIRECTORY
# They come from PyPI, or from beside this script, where sdist.sh has put them, or from .venv. Prints the file's path.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

name=simplejson-4.3.0.tar.gz
hash=ffe34ab51a0d37e6d1c661a5672df00d2d5e18804e38eac07abffb83fa5ec3d7
output=$(mkdir -p "$1" && cd "$1" && pwd)

for place in "$here" "$here/../.venv"; do
    if [ -e "$place/$name" ]; then
        test "$place/$name" -ef "$output/$name" || cp "$place/$name" "$output"
        break
    fi
done
if [ ! -e "$output/$name" ]; then
    pip=$here/../.venv/bin/pip
    test -x "$pip" || pip=pip3
    version=${name#simplejson-}
    "$pip" download --quiet --disable-pip-version-check --no-deps --no-binary :all: --dest "$output" \
        "simplejson==${version%.tar.gz}" 1>&2
fi
echo "$hash  $output/$name" | sha256sum --check --quiet 1>&2
echo "$output/$name"
