"""The suites in `inside` change the host that they run on: they are for the virtual machine alone."""

from __future__ import annotations

from pathlib import Path

collect_ignore = [] if Path("/suite/suite.sh").exists() else ["inside"]
