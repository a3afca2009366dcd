#!/bin/sh
# Makes the source tarball that every package is built from:  sh packaging/sdist.sh OUTPUT-DIRECTORY
# Prints its path. Needs Debian's python3-setuptools.
set -eu
cd "$(dirname "$0")/.."

output=$(mkdir -p "$1" && cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A build leaves files beside the sources: it gets a copy.
cp -a wrapper hooks policies runtime packaging pyproject.toml setup.py MANIFEST.in README.md LICENSE "$work"
find "$work" \( -name __pycache__ -o -path "$work/wrapper/start/bin" \) -prune -exec rm -r {} +
sh packaging/fetch-simplejson.sh "$work/packaging" > "$work/log"
cd "$work"
/usr/bin/python3 -c 'import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))' \
    "$output" > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
echo "$output/$(tail -n 1 "$work/log")"
