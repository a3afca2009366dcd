"""Where an AppArmor profile is written: this host may have none to ask for. tests/vm has the kernel's."""

from __future__ import annotations

import errno
import os

import pytest

from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import lsm, procfs


@pytest.mark.parametrize("there", ["attr/apparmor/exec", "attr/exec"])
def test_a_refused_profile_names_the_file_that_there_is(there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_self(path: str, flags: int) -> int:
        if path != there:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return os.open("/dev/full", flags)

    monkeypatch.setattr(procfs, "open_self", open_self)
    with pytest.raises(Failure, match=rf"write /proc/self/{there}: no space left on device$"):
        lsm.apply_apparmor("a-profile")
