"""What hookrun's DaemonSet runs on each node of a cluster.

    python3 node.py serve     install hookrun on the node, register it with the node's engine, put the policies of the
                              ConfigMap in force, follow the fleet that the chart names, and label the node; then do so
                              with the policies at each change, and with the fleet every five minutes
    python3 node.py remove    take the label and all of that away again; then wait

Both end at SIGTERM. The image is a Debian with hookrun's .deb: hookrun and Debian's libraries for hookctl go from there
to the node's /opt/hookrun, and what fetch-fleet.sh fetched. The node needs a Python that runs them, 3.11 or later.

Environment: NODE_NAME, the node; ENGINE, containerd or crio, found out if empty; POLICIES and FLEET, the ConfigMaps'
directories; FLEET_SECONDS between two looks at the fleet, 300 by default; TEXTFILE, the file on the node for
node_exporter, none if empty; NODE_PID, a process in the node's mount namespace, 1 by default.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

HOOKRUN = Path("/usr/share/hookrun")
LIBRARIES = Path("/usr/lib/python3/dist-packages")
FLEET_LIBRARIES = Path("/usr/lib/hookrun-node/fleet")
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
READY = Path("/run/hookrun-ready")  # the readiness probe looks for it

LABEL = "hookrun/ready"
HOME = "/opt/hookrun"
HOOKCTL = f"{HOME}/hookctl"
FLEET_ROOT = f"{HOME}/fleet-root.json"
FLEET_CA = f"{HOME}/fleet-ca.pem"
STATE = "/var/lib/hookrun"
RECORD = "/var/log/hookrun"
CONFIG = "/etc/hookrun"
SETTINGS = f"{CONFIG}/config.yaml"
SETTINGS_ARE_OURS = "# Written by hookrun's DaemonSet."
CANDIDATE = "/etc/hookrun.candidate"
OURS = "kubernetes-"  # how the names of policy files begin that come from the ConfigMap
PYTHONS = ("python3", "python3.11", "python3.12", "python3.13", "python3.14")
ENGINES = {"crio": "run/crio/crio.sock", "containerd": "run/containerd/containerd.sock"}
SECONDS = 5

PROGRAM = """#!{python} -I
import sys
sys.path[:0] = ["{place}/fleet", "{place}/libraries"]
package = type(sys)("hookrun")
package.__path__ = ["{place}/hookrun"]
sys.modules["hookrun"] = package
from hookrun.wrapper.admin.app import main
sys.exit(main())
"""


class Trouble(Exception):
    """What failed, in one line and what a program said about it."""


class Node:
    """The node's file system, and programs run in there."""

    def __init__(self, pid: str) -> None:
        self._pid = pid
        self.root = Path(f"/proc/{pid}/root")

    def path(self, path: str) -> Path:
        """Where the node's file of this absolute path is from here."""
        return self.root / path.lstrip("/")

    def run(self, *words: str) -> str:
        """What a program prints that is run on the node. Raises Trouble."""
        done = subprocess.run(
            ["nsenter", "--target", self._pid, "--mount", "--root", "--wdns=/", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        if done.returncode:
            raise Trouble(f"{' '.join(words)}: {(done.stderr or done.stdout).strip() or f'status {done.returncode}'}")
        return done.stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file so that it is there as a whole or not at all."""
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.new")
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(mode)
        temporary.replace(target)


def install(node: Node) -> None:
    """Put hookrun on the node; a version that is there already is not touched. Raises Trouble."""
    name = _digest(_payload())
    place = f"{HOME}/{name}"
    _drop_all_but(node, name)
    if not node.path(place).exists():
        _copy_to(node.path(place))
    node.write(HOOKCTL, PROGRAM.format(python=_python(node, place), place=place), 0o755)
    say(node.run(HOOKCTL, "refresh"))


def _drop_all_but(node: Node, name: str) -> None:
    """Remove old versions. The one in use up to now stays until the next start: calls may be under way."""
    hookctl = node.path(HOOKCTL)
    in_use = hookctl.read_text(encoding="utf-8") if hookctl.exists() else ""
    for old in node.path(HOME).glob("*/"):
        if old.name != name and old.name not in in_use:
            shutil.rmtree(old)


def _payload() -> Iterator[tuple[Path, str]]:
    """The files of the image that a node needs, and their paths in there: what any version of Python runs."""
    for source, name in ((HOOKRUN, "hookrun"), (LIBRARIES, "libraries"), (FLEET_LIBRARIES, "fleet")):
        compiled = () if source == FLEET_LIBRARIES else (".so",)
        for path in sorted(source.rglob("*")):
            if path.is_file() and path.suffix not in (".pyc", *compiled):
                yield path, f"{name}/{path.relative_to(source)}"


def _digest(files: Iterator[tuple[Path, str]]) -> str:
    digest = hashlib.sha256()
    for path, name in files:
        digest.update(f"{name} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _copy_to(place: Path) -> None:
    """Copy the payload; what an interrupted copy left is no installation."""
    partial = place.with_name(f"{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for path, name in _payload():
        target = partial / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    partial.rename(place)


def _python(node: Node, place: str) -> str:
    """The node's Python that hookctl runs with. Raises Trouble where there is none."""
    said = ""
    for name in PYTHONS:
        try:
            python = node.run("sh", "-c", f"command -v {name}").strip()
            node.write(HOOKCTL, PROGRAM.format(python=python, place=place), 0o755)
            node.run(HOOKCTL, "--version")
        except Trouble as trouble:
            said = str(trouble)
        else:
            return python
    raise Trouble(f"the node has no Python 3.11 or later that runs hookctl; the last one tried: {said}")


def engine_of(node: Node) -> str:
    """The node's engine. Raises Trouble where it can't be told."""
    there = (name for name, socket in ENGINES.items() if node.path(socket).exists())
    wanted = os.environ.get("ENGINE") or next(there, "")
    if wanted not in ENGINES:
        raise Trouble(f"the engine must be one of {', '.join(ENGINES)}, and no socket of them is there: set ENGINE")
    return wanted


def register(node: Node) -> None:
    """Have the engine know the runtime `hookrun`; it is restarted only where it did not yet. Raises Trouble."""
    engine = engine_of(node)
    words = (HOOKCTL, "engine", "register", engine)
    if "nothing to change" in node.run(*words, "--dry-run"):
        say(node.run(*words))
        return
    try:
        say(node.run(*words, "--reload"))
    except Trouble:
        # An engine that was not restarted must look unregistered to the next try.
        node.run(HOOKCTL, "engine", "unregister", engine)
        raise


def wanted_policies() -> dict[str, str]:
    """The ConfigMap's files, by the names that they have on the node."""
    directory = Path(os.environ.get("POLICIES", "/policies"))
    return {f"{OURS}{path.name}": path.read_text(encoding="utf-8") for path in sorted(directory.glob("[!.]*.yaml"))}


def apply(node: Node, policies: dict[str, str]) -> None:
    """Put policies in force, once `lint`, `test` and a dry run of them beside the node's own went well.

    Raises Trouble; what was in force before is so still.
    """
    candidate = node.path(CANDIDATE)
    shutil.rmtree(candidate, ignore_errors=True)
    try:
        shutil.copytree(node.path(CONFIG), candidate) if node.path(CONFIG).exists() else candidate.mkdir(parents=True)
        _put(node, CANDIDATE, policies)
        for words in ("policy lint", "policy test", "apply --dry-run"):
            node.run(HOOKCTL, "--config", CANDIDATE, *words.split())
    finally:
        shutil.rmtree(candidate, ignore_errors=True)
    _put(node, CONFIG, policies)
    say(node.run(HOOKCTL, "apply", "--yes"))


def _put(node: Node, config: str, policies: dict[str, str]) -> None:
    """Have exactly these policies of ours in a configuration directory."""
    directory = node.path(f"{config}/policies.d")
    for old in directory.glob(f"{OURS}*"):
        if old.name not in policies:
            old.unlink()
    for name, text in policies.items():
        node.write(f"{config}/policies.d/{name}", text)


def follow(node: Node) -> bool:
    """Have the node look at its fleet, if the chart names one; returns whether it has then what it is to have.

    A look that fails leaves in force what was: only a node that has no bundle yet lacks something.
    """
    fleet = Path(os.environ.get("FLEET", "/fleet"))
    settings = _fleet_settings(fleet / "settings.json")
    if not settings:
        return True
    if (fleet / "ca.pem").exists():
        settings["ca"] = FLEET_CA
        node.write(FLEET_CA, (fleet / "ca.pem").read_text(encoding="utf-8"))
    node.write(FLEET_ROOT, (fleet / "root.json").read_text(encoding="utf-8"))
    if _has_our_settings(node) or not node.path(SETTINGS).exists():
        node.write(SETTINGS, f"{SETTINGS_ARE_OURS}\n{json.dumps({'fleet': settings})}\n")
    _try(node, "fleet", "follow", "--root", FLEET_ROOT)
    if os.environ.get("TEXTFILE"):
        _try(node, "metrics", "--textfile", os.environ["TEXTFILE"])
    return bool(json.loads(node.run(HOOKCTL, "fleet", "show", "--json"))["version"])


def _fleet_settings(file: Path) -> dict[str, object]:
    """What the chart says of the fleet, {} where it names none. Raises Trouble."""
    try:
        found: dict[str, object] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except ValueError:
        raise Trouble(f"the ConfigMap hookrun-fleet: {file.name} must be JSON") from None
    return found


def _try(node: Node, *words: str) -> None:
    """Run hookctl on the node, and say what it says, also where it fails."""
    try:
        said = node.run(HOOKCTL, *words)
    except Trouble as trouble:
        said = str(trouble)
    if said:
        say(said)


def _has_our_settings(node: Node) -> bool:
    """False where the node's administrator wrote settings: they say then which fleet the node follows."""
    path = node.path(SETTINGS)
    return path.exists() and path.read_text(encoding="utf-8").startswith(SETTINGS_ARE_OURS)


def label(value: str | None) -> None:
    """Give the node its label, or with None take it away. Raises Trouble."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    url = f"https://{host}:{port}/api/v1/nodes/{os.environ['NODE_NAME']}"
    request = urllib.request.Request(
        url,
        method="PATCH",
        data=json.dumps({"metadata": {"labels": {LABEL: value}}}).encode(),
        headers={
            "Authorization": f"Bearer {(ACCOUNT / 'token').read_text().strip()}",
            "Content-Type": "application/merge-patch+json",
        },
    )
    trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    try:
        urllib.request.urlopen(request, context=trusted, timeout=30).close()
    except OSError as error:
        raise Trouble(f"cannot label the node at {url}: {error}") from None


def serve(node: Node, ended: threading.Event) -> None:
    """Install, then keep in force what ConfigMap and fleet say. Raises Trouble where it can't be installed."""
    install(node)
    register(node)
    seen: dict[str, str] | None = None
    is_applied = is_following = False
    look = time.monotonic()
    while True:
        policies = wanted_policies()
        if policies != seen:
            seen, is_applied = policies, _take_up(node, policies)
        if time.monotonic() >= look:
            is_following = follow(node)
            # The pods of a cluster start together: their looks are spread.
            look = time.monotonic() + float(os.environ.get("FLEET_SECONDS", "300")) * random.uniform(0.7, 1.3)
        _show(is_ready=is_applied and is_following)
        if ended.wait(SECONDS):
            return


def _take_up(node: Node, policies: dict[str, str]) -> bool:
    """Put changed policies in force; returns False where they are refused: the last ones stay so."""
    try:
        apply(node, policies)
    except Trouble as trouble:
        say(f"the policies were refused, those before stay in force: {trouble}")
        return False
    return True


def _show(*, is_ready: bool) -> None:
    """Have the pod ready, and its node labelled, or not ready."""
    if is_ready and not READY.exists():
        label("true")
        READY.touch()
    elif not is_ready:
        READY.unlink(missing_ok=True)


def remove(node: Node, ended: threading.Event) -> None:
    """Put the node back as it was. Raises Trouble."""
    label(None)
    if node.path(HOOKCTL).exists():
        say(node.run(HOOKCTL, "engine", "unregister", engine_of(node), "--reload"))
    _put(node, CONFIG, {})
    if _has_our_settings(node):
        node.path(SETTINGS).unlink()
    for path in (f"{CONFIG}/policies.d", CONFIG):
        _remove_if_empty(node.path(path))
    node.run("sh", "-c", f"umount -l {STATE}/seal 2> /dev/null || true")
    for path in (HOME, STATE, RECORD):
        shutil.rmtree(node.path(path), ignore_errors=True)
    say("the node is as it was before")
    READY.touch()
    ended.wait()


def _remove_if_empty(directory: Path) -> None:
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()


def say(text: str) -> None:
    """Write to the pod's log."""
    print(text.strip(), flush=True)


def main() -> int:
    """Run what the command line names; returns the exit status."""
    command = {"serve": serve, "remove": remove}[sys.argv[1]]
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        command(Node(os.environ.get("NODE_PID", "1")), ended)
    except Trouble as trouble:
        say(f"failed: {trouble}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
