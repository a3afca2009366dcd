"""What the suites in the virtual machine share."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.runtime.conftest import saved, working_criu

__all__ = ["profile", "saved", "working_criu"]

PROFILE = """
profile hookrun-test flags=(attach_disconnected,mediate_deleted) {
  file,
  capability,
  mount,
  signal,
  # what CRIU's code in the process needs
  network,
  ptrace,
  unix,
  deny /secret r,
}
profile hookrun-other flags=(attach_disconnected,mediate_deleted) {
  file,
  capability,
  signal,
  network,
  ptrace,
  unix,
}
"""


@pytest.fixture
def profile() -> Iterator[str]:
    """The name of a loaded AppArmor profile; `hookrun-other` is loaded too."""
    for option in ("--replace", "--remove"):
        subprocess.run(["apparmor_parser", option], input=PROFILE.encode(), check=True, timeout=120)
        if option == "--replace":
            yield "hookrun-test"
