"""The soak, short; an hour of it is `python -m tests.security.soak`."""

from __future__ import annotations

from tests.security.soak import soak


def test_a_short_soak() -> None:
    assert soak(minutes=0.5, seed=20261121).endswith("nothing left")
