#!/bin/sh
# Builds hookrun-start, the program that starts warm, with Debian 12's packages gcc, libpython3.11-dev and libseccomp-dev:
#   sh packaging/build-start.sh OUTPUT-FILE
# Two builds give the same bytes.
set -eu
umask 022
export LC_ALL=C
cd "$(dirname "$0")/.."

output=$1
source=$PWD/wrapper/start
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

library=$(echo /usr/lib/python3.11/config-3.11-*/libpython3.11.a)
python=/usr/bin/python3.11
warnings="-std=c11 -Wall -Wextra -Werror -Wno-missing-field-initializers"
hardening="-fstack-protector-strong -D_FORTIFY_SOURCE=2 -fno-plt -fno-pie"
case $(gcc -dumpmachine) in
x86_64-*) hardening="$hardening -fcf-protection" ;;
aarch64-*) hardening="$hardening -mbranch-protection=standard" ;;
esac
flags="-O2 -ffile-prefix-map=$work=. -ffile-prefix-map=$source=. -isystem /usr/include/python3.11"

for needed in /usr/bin/gcc "$library" /usr/include/python3.11/internal/pycore_runtime.h /usr/include/seccomp.h; do
    test -e "$needed" && continue
    echo "build-start.sh: $needed is missing: install gcc, libc6-dev, libpython3.11-dev and libseccomp-dev" >&2
    exit 1
done

unpack_simplejson() {
    mkdir "$work/simplejson"
    tar -C "$work/simplejson" --strip-components=1 -xf "$(sh packaging/fetch-simplejson.sh "$work")"
}

# Python's objects but those that builtin.c and absent.c leave out, and what of ours is dumped with them.
unpack_python() {
    mkdir "$work/python"
    (cd "$work/python" && ar x "$library")
    for left_out in config dynload_shlib _csv _elementtree _pickle _statisticsmodule cmathmodule frozenmain grpmodule \
        md5module pwdmodule pyexpat sha1module sha3module spwdmodule syslogmodule unicodedata xxsubtype zlibmodule; do
        rm "$work/python/$left_out.o"
    done
}

compile() {
    # shellcheck disable=SC2086
    (cd "$work" && gcc $flags "$@")
}

compile_all() {
    $python -I "$source/freeze.py" "$PWD" "$work/simplejson/simplejson" "$work"
    for file in absent builtin fill heap kernel region scan start wake; do
        # shellcheck disable=SC2086
        compile $warnings $hardening -c "$source/$file.c" -o "$file.o"
    done
    compile -c frozen.c -o frozen.o
    # shellcheck disable=SC2086
    compile $hardening -w -c simplejson/simplejson/_speedups.c -o speedups.o
}

# All that is dumped becomes one object: its data and its zeros one section each, its memory the region's.
join_python() {
    objcopy --globalize-symbol=usedpools "$work/python/obmalloc.o" # for wake.c
    (cd "$work" && ld -r -o joined.o builtin.o kernel.o region.o speedups.o wake.o python/*.o)
    for name in malloc calloc realloc free; do echo "$name region_$name"; done > "$work/renamed"
    objcopy --redefine-syms="$work/renamed" --rename-section .data=pydata --rename-section .PyRuntime=pydata \
        --rename-section .bss=pybss,alloc "$work/joined.o" "$work/python.o"
    objcopy --set-section-alignment pydata=65536 --set-section-alignment pybss=65536 "$work/python.o"
}

# So high, because neither a small number nor four letters look like an address then: the heap is checked for those.
link() {
    (cd "$work" && gcc -static -no-pie -Wl,-Ttext-segment=0x7f000000 -Wl,--build-id=sha1 -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--fatal-warnings \
        -o hookrun-start start.o fill.o heap.o scan.o absent.o frozen.o python.o -lseccomp -lz -lm)
}

unpack_simplejson
unpack_python
compile_all
join_python
link
mkdir -p "$(dirname "$output")"
install -m 755 "$work/hookrun-start" "$output.new"
mv "$output.new" "$output"
