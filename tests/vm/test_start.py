"""The warm start where only another kernel can be told so: strict accounting of memory, addresses of 57 bits, ASLR off."""

from __future__ import annotations

import pytest

from tests.vm import machine
from tests.vm.test_vm import show

pytestmark = pytest.mark.vm

# The machine's processor (qemu's `max`) has five levels of page tables; what calls leave in the record says how they started.
SCRIPT = """
record=.venv/state/record/record.jsonl
expect() {
    .venv/bin/hookrun list > /dev/null || exit 1
    tail -n 1 "$record" | grep -q '"cold":"'"$1"'"' || { echo "$2: $(tail -n 1 "$record")"; exit 1; }
    echo "$2: as expected"
}
mkdir -p /run/hookrun
grep -q la57 /proc/cpuinfo && echo "57 bits"
expect "" "as it is"
echo 2 > /proc/sys/vm/overcommit_memory
echo 100 > /proc/sys/vm/overcommit_ratio
expect "" "strict accounting"
echo 0 > /proc/sys/vm/overcommit_memory
echo 0 > /proc/sys/kernel/randomize_va_space
expect "" "no ASLR"
.venv/bin/python -m hookrun.wrapper.start.program .venv/state || exit 1
expect "" "filled without ASLR"
"""


def test_a_start_is_warm_on_other_kernels() -> None:
    outcome = machine.run(SCRIPT, seconds=1200)
    show("start", outcome)
    assert outcome.status == 0
    assert outcome.console.count("as expected") == 4
