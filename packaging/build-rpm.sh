#!/bin/sh
# Builds the .rpm:  sh packaging/build-rpm.sh OUTPUT-DIRECTORY [RPMBUILD-OPTION...]
# Prints its path. On a Debian, whose rpm knows no package, add --nodeps: what the spec's BuildRequires name is needed
# all the same, and python3-setuptools.
set -eu
cd "$(dirname "$0")/.."

output=$(mkdir -p "$1" && cd "$1" && pwd)
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/SOURCES"
sh packaging/sdist.sh "$work/SOURCES" > /dev/null
rpmbuild -bb "$@" --define "_topdir $work" packaging/rpm/hookrun.spec > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
mv "$work"/RPMS/*/hookrun-*.rpm "$output"
ls "$output"/hookrun-*.rpm
