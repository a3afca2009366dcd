"""Builds hookrun-start into a wheel, where this machine can; pyproject.toml has all the rest."""

from __future__ import annotations

import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

_PROGRAM = Path("wrapper/start/bin/hookrun-start")


class BuildWithStart(build_py):
    """Without gcc, libpython3.11-dev and libseccomp-dev hookrun starts cold, and is as right."""

    def run(self) -> None:
        super().run()
        target = Path(self.build_lib, "hookrun") / _PROGRAM
        if subprocess.run(["sh", "packaging/build-start.sh", target.absolute()], check=False).returncode != 0:
            self.warn("hookrun will start slowly: this machine cannot build hookrun-start")


class WithProgram(Distribution):
    """A program makes the wheel one machine's own."""

    def has_ext_modules(self) -> bool:
        return True


setup(cmdclass={"build_py": BuildWithStart}, distclass=WithProgram)
