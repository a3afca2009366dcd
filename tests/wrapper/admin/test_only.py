"""`hookctl engine register docker --only`: the units' drop-ins, what is said about them, and that nothing stays."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hookrun.runtime.errors import Failure
from hookrun.wrapper.admin import doctor, engines
from hookrun.wrapper.admin.engines import Kind, daemon, stock_runc
from hookrun.wrapper.admin.engines.engine import Runtime
from hookrun.wrapper.admin.finding import GOOD, NOTE, Finding
from hookrun.wrapper.admin.standing import Standing
from tests.support.runtimes import Result, wait_for
from tests.wrapper.admin.support import Desk


class Bench:
    """hookctl, a daemon.json and a directory of units."""

    def __init__(self, place: Path) -> None:
        self.ctl = Desk(place)
        self.units = place / "units"
        self.file = place / "daemon.json"
        self.launchers = self.ctl.state / "launchers"

    def __call__(self, what: str, engine: str, *words: str) -> Result:
        return self.ctl("engine", what, engine, "--file", self.file, "--unit-directory", self.units, *words)

    def tree(self) -> dict[str, bytes]:
        return {
            str(path): path.read_bytes()
            for path in self.units.parent.rglob("*")
            if path.is_file() and path.parent != self.ctl.state
        }


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_both_units_get_the_directory_of_the_launchers_first(bench: Bench) -> None:
    done = bench("register", "docker", "--only")
    assert done.status == 0, done.err
    for unit in ("docker", "containerd"):
        lines = (bench.units / f"{unit}.service.d/50-hookrun.conf").read_text().splitlines()
        assert lines[1:] == [
            "[Service]",
            f"Environment=PATH={bench.launchers}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ]
    assert os.access(bench.launchers / "runc", os.X_OK)
    assert "systemctl daemon-reload && systemctl restart containerd docker" in done.out
    version = subprocess.run(
        [bench.launchers / "runc", "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
    )
    assert version.stdout.startswith("hookrun version ")
    assert bench("register", "docker", "--only").status == 0


def test_unregistering_puts_everything_back(bench: Bench) -> None:
    bench.file.write_text('{\n\t"debug":   true\n}')
    other = bench.units / "docker.service.d/override.conf"
    other.parent.mkdir(parents=True)
    other.write_text("[Service]\nRestart=always\n")
    before = bench.file.read_bytes(), other.read_bytes()
    assert bench("register", "docker", "--only", "--default").status == 0
    done = bench("unregister", "docker")
    assert done.status == 0, done.err
    assert (bench.file.read_bytes(), other.read_bytes()) == before
    assert sorted(bench.units.rglob("*")) == [other.parent, other]
    assert list(bench.launchers.iterdir()) == []


def test_it_stays_while_another_name_of_hookruns_is_registered(bench: Bench) -> None:
    assert bench("register", "docker", "--only").status == 0
    assert bench("register", "docker", "--name", "audit").status == 0
    assert bench("unregister", "docker", "--name", "audit").status == 0
    assert (bench.units / "docker.service.d").exists()
    assert (bench.launchers / "runc").exists()
    assert bench("unregister", "docker").status == 0
    assert not (bench.units / "docker.service.d").exists()


def test_a_dry_run_shows_it_all_and_makes_nothing(bench: Bench) -> None:
    before = bench.tree()
    done = bench("register", "docker", "--only", "--dry-run")
    for text in (
        '"hookrun"',
        "docker.service.d/50-hookrun.conf",
        "containerd.service.d/50-hookrun.conf",
        f"+Environment=PATH={bench.launchers}:",
    ):
        assert text in done.out
    assert bench.tree() == before


@pytest.mark.parametrize("engine", ["containerd", "crio", "podman", "buildah", "nerdctl"])
def test_it_is_for_docker(engine: str, bench: Bench) -> None:
    before = bench.tree()
    done = bench("register", engine, "--only")
    assert done.status == 1
    assert "--only is for docker" in done.err
    assert bench.tree() == before


def test_without_systemd_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(daemon, "SYSTEMD", tmp_path / "nosuch")
    docker = engines.of(Kind.DOCKER)
    with pytest.raises(Failure, match=rf"start dockerd with PATH={tmp_path}:/usr/local/sbin:"):
        stock_runc.changes(docker, stock_runc.UNIT_DIRECTORY, tmp_path)
    with pytest.raises(Failure, match="no systemd is here to restart dockerd"):
        stock_runc.restart(docker)


def test_systemd_is_asked_for_the_path_and_restarts_the_daemons(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    answer = f"HTTP_PROXY=x PATH={tmp_path}/launchers:/opt/bin:/usr/bin"
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{log}\n[ "$1" != show ] || echo "{answer}"\n')
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(daemon, "SYSTEMD", tmp_path)
    docker = engines.of(Kind.DOCKER)
    found = stock_runc.changes(docker, tmp_path / "units", tmp_path / "launchers")
    assert all(f"Environment=PATH={tmp_path}/launchers:/opt/bin:/usr/bin\n" in str(change.after) for change in found)
    stock_runc.restart(docker)
    assert log.read_text().splitlines()[-2:] == ["daemon-reload", "try-restart containerd docker"]


def findings(
    monkeypatch: pytest.MonkeyPatch, launchers: Path, leads_to: dict[int, str], *others: Runtime
) -> list[Finding]:
    docker = engines.of(Kind.DOCKER)
    monkeypatch.setattr(stock_runc, "leads_to", leads_to.get)
    monkeypatch.setattr(daemon, "pids", lambda engine: [])
    ours = Runtime("hookrun", str(launchers / "hookrun"), docker.file)
    return list(doctor._other_doors(Standing(docker, [ours, *others], [ours], list(leads_to))))


def test_doctor_tells_the_open_doors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (found,) = findings(monkeypatch, tmp_path, {5: "/usr/sbin/runc"})
    assert (found.state, "image builds call /usr/sbin/runc, past hookrun" in found.text) == (NOTE, True)
    assert "hookctl engine register docker --only" in found.advice
    (tmp_path / "runc").write_text("")
    (found,) = findings(monkeypatch, tmp_path, {5: "/usr/sbin/runc"})
    assert "restart docker and containerd" in found.advice
    crun = Runtime("crun", "/usr/bin/crun", Path("/etc/docker/daemon.json"))
    first, second = findings(monkeypatch, tmp_path, {5: f"{tmp_path}/runc"}, crun)
    assert (first.state, first.text) == (GOOD, "`--runtime runc` and image builds call hookrun")
    assert (second.state, second.text) == (NOTE, "`--runtime crun` calls /usr/bin/crun, past hookrun")
    (found,) = findings(monkeypatch, tmp_path, {})
    assert "is unknown" in found.text


def test_what_a_process_finds_as_runc(tmp_path: Path) -> None:
    (tmp_path / "runc").write_text("#!/bin/sh\n")
    (tmp_path / "runc").chmod(0o755)
    process = subprocess.Popen(["sleep", "60"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: stock_runc.leads_to(process.pid) == f"{tmp_path}/runc", "the process to have its environment")
        assert stock_runc.users(tmp_path) == []  # sleep is no engine's
    finally:
        process.kill()
        process.wait(60)
    assert stock_runc.leads_to(1 << 22) == ""
