#!/bin/sh
# Builds the .deb with Debian's own tools:  sh packaging/build-deb.sh OUTPUT-DIRECTORY
# Prints its path. What it needs is in debian/control's Build-Depends, python3-setuptools, dpkg-dev and fakeroot.
set -eu
cd "$(dirname "$0")/.."

output=$(mkdir -p "$1" && cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tar -C "$work" -xf "$(sh packaging/sdist.sh "$work")"
cd "$work"/hookrun-*/
cp -a packaging/debian .
dpkg-buildpackage --build=binary --unsigned-source --unsigned-changes > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
mv ../hookrun_*.deb "$output"
ls "$output"/hookrun_*.deb
