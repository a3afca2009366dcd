"""Running a recorded call again: `hookctl trace replay`.

A container is made of the recorded config in a bundle, a state root and a cgroup of its own, so that nothing of the
engine's is touched. What belonged to the engine's moment is left out, and told: its hooks, joined namespaces, the
console, and bind mounts whose source is gone. hookrun puts in its own hooks and policies as they are now.
"""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loguru import logger

from hookrun.runtime import jsonio
from hookrun.runtime.errors import Failure
from hookrun.wrapper import argv, changes, gate, snapshot
from hookrun.wrapper.admin.trace_store import Store
from hookrun.wrapper.bundle import Bundle
from hookrun.wrapper.verdict import Verdict

MAKING = ("create", "run")
_READING = ("state", "ps", "list", "features", "exec")
_MASK = "***"

Config = dict[str, Any]


def decide(store: Store, call: dict[str, Any], state: Path) -> tuple[Verdict, list[dict[str, Any]]]:
    """What hookrun would decide about the call now, and the change it would make as an RFC 6902 patch.

    Raises Failure where the call made no container, or its config is gone.
    """
    _demand_config(call)
    with _bundle(store.before(call)) as directory:
        bundle = Bundle(str(directory))
        line = argv.parse([os.fsencode(word) for word in call["argv"]])
        verdict = gate.decide(line, bundle, snapshot.load(str(state)).content, call["engine"])
        return verdict, changes.between(bundle.config, verdict.config)


def run(store: Store, call: dict[str, Any], rootfs: Path | None) -> int:
    """Run the call again; returns its exit status. Raises Failure where that can't be done apart from the engine."""
    if call["command"] in MAKING:
        _demand_config(call)
        return _make_container(call, store.before(call), rootfs)
    if call["command"] not in _READING:
        raise Failure(
            f"`{call['command']}` would act on the engine's own container: if that is wanted, paste the command line"
            f" that `hookctl trace show {call['id']}` prints"
        )
    return _run(call["argv"])


def _demand_config(call: dict[str, Any]) -> None:
    if call["command"] not in MAKING or not call["config"]:
        raise Failure(f"call {call['id']} ({call['command']}) made no container, or failed before it had a config")


def _make_container(call: dict[str, Any], config: Config, rootfs: Path | None) -> int:
    name = f"replay-{call['id']}"
    prepared = _apart(config, name, rootfs or _recorded_rootfs(call, config))
    with _bundle(prepared) as directory:
        words = [call["argv"][0], "--root", f"{directory}/state"]
        try:
            return _run([*words, "run", "--bundle", str(directory), name])
        finally:
            subprocess.run([*words, "delete", "--force", name], stdin=subprocess.DEVNULL, timeout=120, check=False)


def _recorded_rootfs(call: dict[str, Any], config: Config) -> Path:
    path = Path(call["bundle"] or "/", (config.get("root") or {}).get("path") or "rootfs")
    if not path.is_dir() or not any(path.iterdir()):
        raise Failure(f"the root filesystem {path} is gone: give another one by --rootfs")
    return path


def _apart(config: Config, name: str, rootfs: Path) -> Config:
    """The config for a container beside the engine's."""
    made = copy.deepcopy(config)
    made["root"] = {**(made.get("root") or {}), "path": str(rootfs.absolute())}
    process = made.get("process") or {}
    process["terminal"] = False
    if made.pop("hooks", None):
        logger.warning("the engine's hooks are left out")
    masked = [entry.partition("=")[0] for entry in process.get("env") or () if _MASK in entry]
    if masked:
        logger.warning("masked in the record, and so not what they were: {}", ", ".join(masked))
    gone = [mount for mount in made.get("mounts") or () if _is_bind(mount) and not os.path.exists(mount["source"])]
    for mount in gone:
        logger.warning("{} is left out: {} is gone", mount["destination"], mount["source"])
    made["mounts"] = [mount for mount in made.get("mounts") or () if mount not in gone]
    linux = made.get("linux") or {}
    linux["cgroupsPath"] = f"/{name}"
    linux["namespaces"] = [{"type": entry["type"]} for entry in linux.get("namespaces") or ()]
    return made


def _is_bind(mount: dict[str, Any]) -> bool:
    return mount.get("type") == "bind" or bool({"bind", "rbind"} & set(mount.get("options") or ()))


@contextmanager
def _bundle(config: Config) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="hookrun-replay-"))
    try:
        (directory / "config.json").write_text(jsonio.dumps(config))
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run(words: list[str]) -> int:
    try:
        return subprocess.run([os.fsencode(word) for word in words], check=False).returncode
    except OSError as error:
        raise Failure(f"cannot run {words[0]}: {error.strerror}") from None
