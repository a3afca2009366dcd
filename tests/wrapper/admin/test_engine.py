"""`hookctl engine`: each engine's configuration before and after, and what is said about it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hookrun.runtime.errors import Failure
from hookrun.wrapper.admin import engine as commands
from hookrun.wrapper.admin import engines
from hookrun.wrapper.admin.engines import Kind, daemon
from hookrun.wrapper.admin.engines.docker import Docker
from hookrun.wrapper.admin.engines.engine import Change
from hookrun.wrapper.admin.engines.toml_file import TomlFile, drop, put
from tests.support.containerd import CONTAINERD
from tests.support.runtimes import Result
from tests.wrapper.admin.support import Desk

FILES = {
    "containerd": "containerd/config.toml",
    "crio": "crio/crio.conf.d/50-hookrun.conf",
    "podman": "containers/containers.conf.d/50-hookrun.conf",
    "buildah": "containers/containers.conf.d/50-hookrun.conf",
}
NOTHING = Change(Path("/nonexistent"), "", "")
CRI = "io.containerd.grpc.v1.cri"
CRI_3 = "io.containerd.cri.v1.runtime"


class Bench:
    """hookctl and an engine's files, below a directory of the test's own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.ctl = Desk(place)
        self.launchers = self.ctl.state / "launchers"

    def file(self, engine: str) -> Path:
        return self.place / FILES[engine]

    def given(self, name: str, text: str) -> Path:
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def call(self, what: str, engine: str, *words: str) -> Result:
        return self.ctl("engine", what, engine, "--file", self.file(engine), *words)

    def register(self, engine: str, *words: str) -> str:
        result = self.call("register", engine, *words)
        assert result.status == 0, result.err
        return result.out + result.err

    def unregister(self, engine: str, *words: str) -> None:
        result = self.call("unregister", engine, *words)
        assert result.status == 0, result.err

    def status(self, engine: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.call("status", engine, "--json").out)
        return found

    def registered(self, engine: str) -> dict[str, str]:
        return {entry["name"]: entry["path"] for entry in self.status(engine)["runtimes"] if entry["hookrun"]}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield Bench(tmp_path)
    # Path.is_mount() does not see a bind mount within one file system.
    subprocess.run(["umount", "-l", tmp_path / "state/seal"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


def all_texts(place: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in place.rglob("*") if path.is_file() and ".hookrun-" not in path.name}


@pytest.mark.parametrize("engine", FILES)
def test_two_names_and_back(bench: Bench, engine: str) -> None:
    bench.register(engine, "--default")
    bench.register(engine, "--name", "hookrun-audit")
    paths = {name: str(bench.launchers / name) for name in ("hookrun", "hookrun-audit")}
    assert bench.registered(engine) == paths
    assert bench.status(engine)["default"] == "hookrun"
    assert bench.call("status", engine).status == 0
    for path in paths.values():
        assert (
            subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode
            == 0
        )
    bench.unregister(engine)
    assert bench.registered(engine) == {"hookrun-audit": paths["hookrun-audit"]}
    assert bench.status(engine)["default"] == ""
    bench.unregister(engine, "--name", "hookrun-audit")
    assert not bench.file(engine).exists()
    assert list(bench.launchers.iterdir()) == []
    result = bench.call("status", engine)
    assert (result.status, "not registered" in result.out) == (1, True)


@pytest.mark.parametrize("engine", FILES)
def test_a_second_time_changes_nothing(bench: Bench, engine: str) -> None:
    bench.register(engine, "--default")
    before = all_texts(bench.file(engine).parent)
    assert "nothing to change" in bench.register(engine, "--default")
    assert all_texts(bench.file(engine).parent) == before
    assert list(bench.file(engine).parent.glob("*.hookrun-*")) == []


@pytest.mark.parametrize("engine", FILES)
def test_dry_run_shows_a_diff_and_writes_nothing(bench: Bench, engine: str) -> None:
    assert f"+++ {bench.file(engine)} (new)" in bench.register(engine, "--dry-run")
    assert not bench.file(engine).exists()
    assert not bench.launchers.exists()
    bench.register(engine)
    before = bench.file(engine).read_text()
    result = bench.call("unregister", engine, "--dry-run")
    assert f"-{before.splitlines()[-1]}" in result.out
    assert bench.file(engine).read_text() == before
    assert (bench.launchers / "hookrun").exists()


def test_json(bench: Bench) -> None:
    file = bench.given("daemon.json", '{"debug": false}\n')

    def told(what: str, *words: str) -> Any:
        result = bench.ctl("engine", what, "docker", "--daemon-json", file, *words, "--json")
        assert result.status == 0, result.err
        return json.loads(result.out)

    (planned,) = told("register", "--dry-run")["changes"]
    assert planned["file"] == str(file) and '+    "runtimes"' in planned["diff"]
    registered = told("register")
    (change,) = registered["changes"]
    assert (change["file"], change["done"]) == (str(file), "written")
    assert Path(change["kept"]).read_text() == '{"debug": false}\n'
    assert registered["notes"][-1] == "Use it: docker run --runtime hookrun IMAGE"
    assert told("register")["changes"] == [{"file": str(file), "done": "unchanged", "kept": ""}]
    assert told("unregister")["changes"][0]["done"] == "written"
    assert file.read_text() == '{"debug": false}\n'


BROKEN = {
    "a = \n": "1:5",
    "x = 1\n[a]\n[a]\n": "3:3",
    "a = 1\na = 2\n": "2:6",
    'a = 1\nb = "open': "2:10",
    "x = " + "[" * 100_000: "",
}


@pytest.mark.parametrize("engine", FILES)
@pytest.mark.parametrize(("text", "place"), BROKEN.items(), ids=["value", "table", "key", "string", "deep"])
def test_where_a_file_is_broken(tmp_path: Path, engine: str, text: str, place: str) -> None:
    file = tmp_path / Path(FILES[engine]).name
    file.write_text(text)
    with pytest.raises(Failure) as refusal:
        engines.of(Kind(engine), file).register("hookrun", tmp_path / "hookrun", False)
    assert f"{file}:{place}: " in refusal.value.text if place else f"{file}: nested too deeply" in refusal.value.text


@pytest.mark.parametrize("engine", FILES)
def test_a_file_that_is_not_understood_is_left_alone(bench: Bench, engine: str) -> None:
    file = bench.given(FILES[engine], "a = \n")
    for what in ("register", "unregister", "status"):
        result = bench.call(what, engine)
        assert (result.status, f"{file}:1:5: " in result.out + result.err) == (1, True)
    assert all_texts(file.parent) == {str(file): "a = \n"}
    assert not bench.launchers.exists()


# containerd

DEBIAN = f"""version = 2

[plugins]
  [plugins."{CRI}"]
    [plugins."{CRI}".cni]  # where Debian has them
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd/opt"
"""
KUBERNETES = f"""# a node
version = 2
[plugins."{CRI}"]
sandbox_image = "pause:1"
[plugins."{CRI}".containerd]
default_runtime_name = "crun"  # ours
[plugins."{CRI}".containerd.runtimes.crun]
runtime_type = "io.containerd.runc.v2"
pod_annotations = ["run.oci.*"]
[plugins."{CRI}".containerd.runtimes.crun.options]
BinaryName = "/usr/bin/crun"
SystemdCgroup = true
"""


def read_by_containerd(file: Path, plugin: str = CRI) -> dict[str, Any]:
    """The CRI plugin's configuration of runtimes as containerd itself understands the file."""
    if not Path(CONTAINERD).exists():
        pytest.skip("needs containerd")
    done = subprocess.run(
        [CONTAINERD, "--config", file, "config", "dump"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, Any] = tomllib.loads(done.stdout)["plugins"][plugin]
    return found


@pytest.mark.parametrize("text", ["", DEBIAN, KUBERNETES, "default"], ids=["none", "debian", "kubernetes", "default"])
def test_containerd_understands_it_and_gets_its_own_back(bench: Bench, text: str) -> None:
    if text == "default":
        words = [CONTAINERD, "config", "default"]
        text = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True
        ).stdout
    file = bench.given(FILES["containerd"], text) if text else bench.file("containerd")
    before = read_by_containerd(file) if text else {}
    bench.register("containerd", "--default")
    after = read_by_containerd(file)
    assert after["containerd"]["default_runtime_name"] == "hookrun"
    options = after["containerd"]["runtimes"].pop("hookrun")["options"]
    assert options["BinaryName"] == str(bench.launchers / "hookrun")
    if before:
        after["containerd"]["default_runtime_name"] = before["containerd"]["default_runtime_name"]
        for runtime in before["containerd"]["runtimes"].values():
            runtime["options"] = {name: value for name, value in runtime["options"].items() if value}
        for runtime in after["containerd"]["runtimes"].values():
            runtime["options"] = {name: value for name, value in runtime["options"].items() if value}
        assert after == before
        assert [line for line in text.splitlines() if line not in file.read_text()] == [
            line for line in text.splitlines() if line.strip().startswith("default_runtime_name")
        ]
    bench.unregister("containerd")
    assert (file.read_text() if file.exists() else "") == text


def test_a_handler_is_like_the_default_one(bench: Bench) -> None:
    file = bench.given(FILES["containerd"], KUBERNETES)
    bench.register("containerd")
    runtimes = tomllib.loads(file.read_text())["plugins"][CRI]["containerd"]["runtimes"]
    assert runtimes["hookrun"] == {
        "runtime_type": "io.containerd.runc.v2",
        "pod_annotations": ["run.oci.*"],
        "options": {"BinaryName": str(bench.launchers / "hookrun"), "SystemdCgroup": True},
    }
    assert runtimes["crun"]["options"]["BinaryName"] == "/usr/bin/crun"
    assert bench.status("containerd")["default"] == "crun"


def test_an_old_path_is_replaced_and_the_rest_of_the_handler_stays(bench: Bench) -> None:
    entry = f'[plugins."{CRI}".containerd.runtimes.hookrun]\nruntime_type = "io.containerd.runc.v2"\n'
    options = f'[plugins."{CRI}".containerd.runtimes.hookrun.options]\n# by hand\nSystemdCgroup = true\nBinaryName = "/old/hookrun"\n'
    file = bench.given(FILES["containerd"], f"version = 2\n{entry}{options}")
    bench.register("containerd")
    assert file.read_text() == f"version = 2\n{entry}{options}".replace(
        "/old/hookrun", str(bench.launchers / "hookrun")
    )


def test_a_drop_in_where_nothing_would_be_lost(bench: Bench) -> None:
    text = f'version = 2\nimports = ["{bench.place}/containerd/conf.d/*.toml"]\n'
    file = bench.given(FILES["containerd"], text)
    bench.register("containerd")
    drop_in = file.parent / "conf.d/50-hookrun.toml"
    assert tomllib.loads(drop_in.read_text())["version"] == 2
    assert file.read_text() == text
    assert read_by_containerd(file)["containerd"]["runtimes"]["hookrun"]["options"]["BinaryName"] == str(
        bench.launchers / "hookrun"
    )
    bench.unregister("containerd")
    assert not drop_in.exists()


@pytest.mark.parametrize("where", ["main", "import"])
def test_no_drop_in_that_would_hide_a_section(bench: Bench, where: str) -> None:
    imports = 'imports = ["conf.d/*.toml"]\n'
    other = f'version = 2\n[plugins."{CRI}"]\nsandbox_image = "kept"\n'
    main = imports + (other if where == "main" else "version = 2\n")
    file = bench.given(FILES["containerd"], main)
    imported = bench.given("containerd/conf.d/10-other.toml", other if where == "import" else "version = 2\n")
    bench.register("containerd")
    assert bench.registered("containerd") == {"hookrun": str(bench.launchers / "hookrun")}
    changed = file if where == "main" else imported
    assert bench.status("containerd")["runtimes"][0]["file"] == str(changed)
    if where == "main":  # containerd 1 takes relative imports for relative to where it runs
        file.write_text(file.read_text().replace("conf.d", f"{file.parent}/conf.d"))
        found = read_by_containerd(file)
        assert (found["sandbox_image"], "hookrun" in found["containerd"]["runtimes"]) == ("kept", True)


def test_version_3(bench: Bench) -> None:
    runc = f'[plugins."{CRI_3}".containerd.runtimes.runc]\n[plugins."{CRI_3}".containerd.runtimes.runc.options]\nSystemdCgroup = true\n'
    file = bench.given(FILES["containerd"], f"version = 3\n{runc}")
    bench.register("containerd", "--default")
    section = tomllib.loads(file.read_text())["plugins"][CRI_3]["containerd"]
    assert section["default_runtime_name"] == "hookrun"
    assert section["runtimes"]["hookrun"]["options"] == {
        "BinaryName": str(bench.launchers / "hookrun"),
        "SystemdCgroup": True,
    }
    bench.unregister("containerd")
    assert file.read_text() == f"version = 3\n{runc}"
    file.write_text(f'version = 3\nimports = ["{file.parent}/conf.d/*.toml"]\n{runc}')
    bench.register("containerd")
    section = tomllib.loads((file.parent / "conf.d/50-hookrun.toml").read_text())["plugins"][CRI_3]["containerd"]
    assert section["runtimes"]["hookrun"]["options"]["SystemdCgroup"]
    assert bench.status("containerd")["default"] == ""
    assert list(bench.registered("containerd")) == ["hookrun"]


@pytest.mark.parametrize("text", ['disabled_plugins = ["cri"]\n', "version = 1\n", "version = 4\n"])
def test_a_version_that_is_not_known_is_left_alone(bench: Bench, text: str) -> None:
    file = bench.given(FILES["containerd"], text)
    result = bench.call("register", "containerd")
    assert (result.status, "containerd config migrate" in result.err) == (1, True)
    assert file.read_text() == text


# Files of one's own beside others'


def test_crio_inherits_what_the_host_has_set(bench: Bench) -> None:
    text = '[crio.runtime]\ndefault_runtime = "crun"\n[crio.runtime.runtimes.crun]\nruntime_path = "/usr/bin/crun"\nmonitor_path = "/usr/bin/conmon"\n'
    other = bench.given("crio/crio.conf.d/10-crio.conf", text)
    bench.register("crio", "--default")
    ours = tomllib.loads(bench.file("crio").read_text())["crio"]["runtime"]
    assert ours == {
        "default_runtime": "hookrun",
        "runtimes": {
            "hookrun": {
                "runtime_path": str(bench.launchers / "hookrun"),
                "runtime_type": "oci",
                "monitor_path": "/usr/bin/conmon",
            }
        },
    }
    bench.unregister("crio")
    assert bench.status("crio")["default"] == "crun"
    assert other.read_text() == text


def test_a_later_file_has_the_last_word(bench: Bench) -> None:
    bench.given("crio/crio.conf.d/99-last.conf", '[crio.runtime]\ndefault_runtime = "runc"\n')
    assert "hookrun is not the default" in bench.register("crio", "--default")


def test_containers_conf_keeps_what_others_wrote(bench: Bench) -> None:
    main = bench.given(
        "containers/containers.conf", '[engine]\nruntime = "crun"\n[engine.runtimes]\nhookrun = ["/old/hookrun"]\n'
    )
    ours = bench.given(FILES["podman"], '# of this host\n[engine]\nevents_logger = "file"  # no journal\n')
    before = ours.read_text()
    bench.register("podman", "--default")
    assert "# of this host" in ours.read_text() and "# no journal" in ours.read_text()
    assert bench.registered("podman") == {"hookrun": str(bench.launchers / "hookrun")}
    result = bench.call("unregister", "buildah")
    assert f"{main} still names the runtime hookrun" in result.err
    assert ours.read_text() == before


# nerdctl


def test_nerdctl_finds_a_link(bench: Bench) -> None:
    FILES["nerdctl"] = "bin"
    launcher = bench.launchers / "hookrun-audit"
    assert f"-> {launcher}" in bench.register("nerdctl", "--name", "hookrun-audit", "--dry-run")
    assert not (bench.place / "bin").exists()
    bench.register("nerdctl", "--name", "hookrun-audit")
    link = bench.place / "bin/hookrun-audit"
    assert link.readlink() == launcher
    assert (
        subprocess.run([link, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode == 0
    )
    assert bench.registered("nerdctl") == {"hookrun-audit": str(launcher)}
    bench.unregister("nerdctl", "--name", "hookrun-audit")
    assert not link.is_symlink()
    assert bench.call("register", "nerdctl", "--default").err.startswith(
        "hookctl: nerdctl has no setting for a default runtime"
    )
    (bench.place / "bin/hookrun").write_text("another program")
    assert "is another program" in bench.call("register", "nerdctl").err
    assert (bench.place / "bin/hookrun").read_text() == "another program"


# Docker, list, and reloading


def test_the_default_before_comes_back(bench: Bench) -> None:
    FILES["docker"] = "docker/daemon.json"
    text = '{"default-runtime": "nvidia",\n "runtimes": {"nvidia": {"path": "/usr/bin/nvidia-container-runtime"}}}\n'
    file = bench.given(FILES["docker"], text)
    bench.register("docker", "--default")
    bench.register("docker", "--default", "--name", "hookrun-audit")
    bench.unregister("docker", "--name", "hookrun-audit")
    assert bench.status("docker")["default"] == "hookrun"
    bench.unregister("docker")
    assert file.read_text() == text


def test_list(bench: Bench) -> None:
    found = {entry["engine"]: entry for entry in json.loads(bench.ctl.check("engine", "list", "--json"))}
    for engine in engines.found():
        assert found.pop(engine.name)["file"] == str(engine.file)
    assert found == {}
    assert bench.ctl.check("engine", "list").startswith("ENGINE")


def test_a_launcher_that_another_engine_calls_stays(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    program = bench.launchers / "hookrun"
    file = bench.given("daemon.json", json.dumps({"runtimes": {"hookrun": {"path": str(program)}}}))
    monkeypatch.setattr(Docker, "default_file", file)
    assert commands._users(bench.ctl.state, program) == ["docker"]
    assert commands._users(bench.ctl.state, bench.launchers / "other") == []


def test_reload_by_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "systemctl").write_text(
        f'#!/bin/sh\necho "$@" >>{log}\ntest "$2" != crio || {{ echo no such unit >&2; exit 5; }}\n'
    )
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(daemon, "SYSTEMD", tmp_path)
    monkeypatch.setattr(daemon, "_daemons", lambda _: {})  # another test's may run beside this one
    for kind in (Kind.DOCKER, Kind.CONTAINERD, Kind.PODMAN):
        daemon.take_up(engines.of(kind), NOTHING)
    with pytest.raises(Failure, match="systemctl reload crio: no such unit"):
        daemon.take_up(engines.of(Kind.CRIO), NOTHING)
    assert log.read_text().splitlines() == ["reload docker", "restart containerd", "reload crio"]


class Daemon:
    """A program of a daemon's name that waits, and notes SIGHUP."""

    def __init__(self, place: Path, program: str, *words: str | Path) -> None:
        self.log = place / "signals"
        real = place / "real" / program
        real.parent.mkdir()
        real.write_bytes(Path("/usr/bin/python3").read_bytes())
        real.chmod(0o755)
        script = place / "script.py"
        script.write_text(
            f"import signal,time\nsignal.signal(1, lambda *_: open({str(self.log)!r}, 'a').write('HUP'))\nprint(flush=True)\nwhile True: time.sleep(60)"
        )
        self._process = subprocess.Popen([real, script, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self.pid = self._process.pid

    def close(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("kind", "option", "file"),
    [
        (Kind.DOCKER, "--config-file", "daemon.json"),
        (Kind.CONTAINERD, "--config", "config.toml"),
        (Kind.CRIO, "--config-dir", "conf.d/50-hookrun.conf"),
    ],
)
def test_reload_by_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, option: str, file: str) -> None:
    monkeypatch.setattr(Docker, "has_read", lambda *_: True)  # tests/engines asks a real one
    engine = engines.of(kind, tmp_path / file)
    value = engine.file.parent if kind is Kind.CRIO else engine.file
    assert "will read it at its start" in daemon.take_up(engine, NOTHING)
    process = Daemon(tmp_path, engine.program, option, value)
    try:
        assert daemon.pids(engine) == [process.pid]
        assert daemon.pids(engines.of(kind, tmp_path / "other/file")) == []
        if engine.reloads:
            assert f"process {process.pid}" in daemon.take_up(engine, NOTHING)
            while not process.log.exists():
                os.sched_yield()
        else:
            with pytest.raises(Failure, match=f"process {process.pid}.*restart it as it was started"):
                daemon.take_up(engine, NOTHING)
    finally:
        process.close()


# The editor


def test_an_edit_that_would_change_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.toml"
    path.write_text("[a]\nb = 1\n")
    monkeypatch.setattr("tomlkit.dumps", lambda _: "[a]\nb = 2\nc = 3\n")
    with pytest.raises(Failure, match="would change the file's layout"):
        TomlFile(path).edited(put(("a", "c"), 3))


LAYOUTS = [
    "[x]\na = 1\n",
    "x = {a = 1}\n",
    "x.a = 1\n",
    "[x]\n\n[y]\nb = 2\n\n[x.z]\nc = 3\n",
    "[x.y.z]\nc = 3\n[other]\n[x.y.w]\n",
    "[[list]]\na = 1\n[[list]]\na = 2\n# end",
]


@pytest.mark.parametrize("text", LAYOUTS)
def test_layouts(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    wanted = tomllib.loads(text)
    wanted.setdefault("x", {}).setdefault("y", {})["new"] = {"k": "v", "deep": {"l": [1]}}
    after = TomlFile(path).edited(put(("x", "y", "new"), {"k": "v", "deep": {"l": [1]}}))
    assert after is not None
    assert tomllib.loads(after) == wanted
    path.write_text(after)
    back = TomlFile(path).edited(drop(("x", "y", "new")))
    assert back is not None
    assert tomllib.loads(back).get("x", {}) == tomllib.loads(text).get("x", {})
