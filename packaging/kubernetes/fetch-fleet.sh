#!/bin/sh
# Puts what `hookctl fleet` needs beside Debian's libraries into a directory, for whichever Python a node has:
#   sh packaging/kubernetes/fetch-fleet.sh OUTPUT-DIRECTORY
# They come from PyPI, for this machine's kind of processor and glibc 2.28 or later. What is compiled for each version of
# Python is cffi alone: the others' files are added to those of the first.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
pip=$here/../../.venv/bin/pip
test -x "$pip" || pip=pip3
output=$(mkdir -p "$1" && cd "$1" && pwd)

fetch() {
    version=$1
    shift
    # Twice quiet: pip warns of the files that are there already.
    "$pip" install --quiet --quiet --disable-pip-version-check --no-compile --target "$output" \
        --only-binary :all: --implementation cp --python-version "$version" --platform "manylinux_2_28_$(uname -m)" \
        --platform "manylinux_2_17_$(uname -m)" --platform "manylinux2014_$(uname -m)" "$@"
}

fetch 3.11 'tuf>=6.0' 'securesystemslib>=1.0' 'cryptography>=38' 'urllib3>=1.26' 'prometheus-client>=0.16'
for version in 3.12 3.13 3.14; do
    fetch "$version" --no-deps cffi
done
rm -rf "${output:?}/bin"
