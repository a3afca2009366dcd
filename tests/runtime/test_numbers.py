"""The table of system call numbers against the kernel's own headers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hookrun.runtime.linux import numbers

# linux-libc-dev has both: the generic table, which aarch64 uses as it is, and x86_64's.
GENERIC = Path("/usr/include/asm-generic/unistd.h")
X86_64 = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
# aarch64 is a 64-bit architecture: `__NR3264_name` is `name` (asm-generic/unistd.h).
DEFINITION = re.compile(r"#define __NR(?:3264)?_(\w+)\s+(\d+)")


def ours(table: type) -> dict[str, int]:
    return {name: getattr(table, name) for name in dir(table) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("table", "header"), [(numbers.AArch64, GENERIC), (numbers.X86_64, X86_64)], ids=["aarch64", "x86_64"]
)
def test_numbers_are_the_kernels(table: type, header: Path) -> None:
    if not header.exists():
        pytest.skip(f"no {header} on this architecture")
    theirs = {name: int(number) for name, number in DEFINITION.findall(header.read_text())}
    found = ours(table)
    assert found
    assert {name: number for name, number in found.items() if theirs.get(name) != number} == {}


def test_both_tables_have_the_same_calls() -> None:
    assert ours(numbers.AArch64).keys() == ours(numbers.X86_64).keys()
