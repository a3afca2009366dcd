"""Memory that moves before a container does (pre-dumps, a page server) or after it (lazy pages), beside Debian's runc."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hookrun.runtime.criu import statistics
from tests.runtime.checkpoint_support import (
    Saved,
    checkpoint,
    count,
    restore,
    start,
    wait_for_more,
    with_python,
)
from tests.support.bundles import Bundle
from tests.support.runtimes import PATIENCE, Runtime, wait_for

pytestmark = pytest.mark.usefixtures("working_criu")

MEGABYTES = 8
LARGE_PIPE = 2 << 20
# The memory is checked as it is counted: a page that came back empty, or not at all, ends the counting.
MEMORY = f"""
import os, time
memory = bytearray(b"memory" * ({MEGABYTES} << 20))[: {MEGABYTES} << 20]
os.mkdir("/counts")
number = 0
while True:
    number += 1
    at = number * 4096 * 7 % len(memory)
    if memory[at : at + 2] not in (b"me", b"em", b"mo", b"or", b"ry", b"ym"):
        raise SystemExit(3)
    os.mkdir(f"/counts/{{number}}")
    time.sleep(0.02)
"""


def needs(feature: str, what: str) -> None:
    """Skip where CRIU finds that the kernel can't do it."""
    if subprocess.run(["criu", "check", "--feature", feature], capture_output=True, timeout=60).returncode:
        pytest.skip(f"this kernel has no {what}")


def needs_large_pipes() -> None:
    """Skip where CRIU's page server can't have a pipe that holds all pages before the one asked for."""
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, LARGE_PIPE)
    except PermissionError:
        pytest.skip("CRIU's page server takes CAP_SYS_RESOURCE, or a larger fs.pipe-max-size")
    finally:
        os.close(reader)
        os.close(writer)


def with_memory(bundle: Bundle) -> Bundle:
    return with_python(bundle, MEMORY)


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def criu(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A CRIU that serves beside a runtime; killed if it has not ended by itself."""
    null = subprocess.DEVNULL
    with subprocess.Popen(["criu", *words], stdin=null, stdout=null, stderr=null) as serving:
        try:
            yield serving
        finally:
            serving.kill()


def is_heard(port: int) -> bool:
    """Whether a process listens there; it is not connected to, for a page server serves one connection."""
    return any(
        line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
        for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    )


def disk_bytes(images: Path) -> int:
    """What the memory in the images takes on disk: deduplication punches holes into it."""
    return sum(os.stat(entry).st_blocks * 512 for entry in os.scandir(images) if entry.name.startswith("pages-"))


def pages(saved: Saved) -> dict[str, int]:
    found: dict[str, int] = statistics.of_dump(str(saved.work))
    return found


def test_a_chain_of_pre_dumps(either: Runtime, bundle: Bundle, saved: Saved) -> None:
    """Two pre-dumps and the dump, each with what has changed since the one before, as an iterative migration has it."""
    needs("mem_dirty_track", "tracking of dirty memory")
    container_id = start(either, with_memory(bundle))
    wait_for_more(bundle, 3)
    chain = [Saved(bundle.path / f"{name}-images", bundle.path / f"{name}-work") for name in ("first", "second")]
    parents: list[str] = []
    for step in (*chain, saved):
        flags = [*(["--pre-dump"] if step is not saved else []), *parents]
        result = checkpoint(either, container_id, step, *flags)
        assert result.status == 0, (flags, result.err)
        if step is not saved:
            assert either.state(container_id)["status"] == "running"
            wait_for_more(bundle, count(bundle))
        assert (step.images / "parent").is_symlink() == bool(parents)
        assert (step.images / "descriptors.json").exists() == (step is saved)
        parents = ["--parent-path", f"../{step.images.name}"]
    whole = pages(chain[0])["pages"]
    for step in (chain[1], saved):
        assert pages(step)["pages_in_parent"] > MEGABYTES << 7
        assert pages(step)["pages"] < whole / 2
    reached = count(bundle)
    container_id = restore(either, bundle, saved)
    wait_for_more(bundle, reached + 5)


def test_what_is_in_the_child_is_cut_from_the_parent(either: Runtime, bundle: Bundle, saved: Saved) -> None:
    """`--auto-dedup` of a dump whose parent has the same pages."""
    needs("mem_dirty_track", "tracking of dirty memory")
    script = MEMORY.replace("    time.sleep", "    memory[:] = memory\n    time.sleep")
    container_id = start(either, with_python(bundle, script))
    wait_for_more(bundle, 3)
    parent = Saved(bundle.path / "parent", bundle.path / "parent-work")
    assert checkpoint(either, container_id, parent, "--pre-dump").status == 0
    before = disk_bytes(parent.images)
    wait_for_more(bundle, count(bundle))
    result = checkpoint(either, container_id, saved, "--parent-path", "../parent", "--auto-dedup")
    assert result.status == 0, result.err
    assert disk_bytes(parent.images) < before - (MEGABYTES << 19)
    reached = count(bundle)
    restore(either, bundle, saved)
    wait_for_more(bundle, reached)


def test_what_is_restored_is_cut_from_the_images(either: Runtime, bundle: Bundle, saved: Saved) -> None:
    """`--auto-dedup` of a restore."""
    container_id = start(either, with_memory(bundle))
    wait_for_more(bundle, 3)
    assert checkpoint(either, container_id, saved).status == 0
    before = disk_bytes(saved.images)
    assert before > MEGABYTES << 20
    reached = count(bundle)
    restore(either, bundle, saved, "--auto-dedup")
    assert disk_bytes(saved.images) < before / 2
    wait_for_more(bundle, reached)


def test_a_page_server(either: Runtime, bundle: Bundle, saved: Saved) -> None:
    """The memory goes to the server's directory, all else to the images'; together they are a checkpoint."""
    container_id = start(either, with_memory(bundle))
    wait_for_more(bundle, 3)
    there, port = bundle.path / "there", unused_port()
    there.mkdir()
    address = ["--address", "127.0.0.1", "--port", str(port)]
    with criu("page-server", "--images-dir", str(there), *address) as server:
        wait_for(lambda: is_heard(port), "the page server")
        result = checkpoint(either, container_id, saved, "--page-server", f"127.0.0.1:{port}")
        assert result.status == 0, result.err
        assert server.wait(PATIENCE) == 0
    assert disk_bytes(saved.images) == 0
    assert disk_bytes(there) > MEGABYTES << 20
    for file in saved.images.iterdir():
        file.rename(there / file.name)
    reached = count(bundle)
    restore(either, bundle, Saved(there, saved.work))
    wait_for_more(bundle, reached)


def test_no_page_server(either: Runtime, bundle: Bundle, saved: Saved) -> None:
    container_id = start(either, with_memory(bundle))
    wait_for_more(bundle, 3)
    result = checkpoint(either, container_id, saved, "--page-server", f"127.0.0.1:{unused_port()}")
    assert result.status == 1
    if either.name == "hookrun":
        assert "Can't connect to server" in result.err
    assert either.state(container_id)["status"] == "running"
    wait_for_more(bundle, count(bundle))


def test_lazy_pages(either: Runtime, bundle: Bundle, saved: Saved) -> None:
    """The container is brought back first, and its memory from the page server as it is asked for."""
    needs("uffd-noncoop", "userfaultfd")
    needs_large_pipes()
    container_id = start(either, with_memory(bundle))
    wait_for_more(bundle, 3)
    port = unused_port()
    with lazy_dump(either, container_id, saved, port) as dumping:
        assert json.loads((saved.images / "descriptors.json").read_text())[0] == "/dev/null"
        assert (saved.images / "inventory.img").exists()
        reached = count(bundle)
        fetching = [
            "lazy-pages",
            "--page-server",
            "--address",
            "127.0.0.1",
            "--port",
            str(port),
            "-D",
            str(saved.images),
        ]
        with criu(*fetching) as server:
            wait_for((saved.images / "lazy-pages.socket").exists, "the server of lazy pages")
            restore(either, bundle, Saved(saved.images, saved.images), "--lazy-pages")
            wait_for_more(bundle, reached)
            assert server.wait(PATIENCE) == 0
        assert dumping.wait(PATIENCE) == 0, (bundle.path / "dumping").read_text()
    assert either.call("state", container_id).status == 1
    assert disk_bytes(saved.images) < MEGABYTES << 19  # what a dump leaves behind without --lazy-pages has it all
    wait_for_more(bundle, count(bundle))


@contextmanager
def lazy_dump(runtime: Runtime, container_id: str, saved: Saved, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A checkpoint that serves the container's pages; it has said by its status descriptor that it does."""
    ready, status = os.pipe()
    lazily = ["--lazy-pages", "--page-server", f"127.0.0.1:{port}", "--status-fd", str(status)]
    words = [runtime.program, *runtime.globals, "checkpoint", *saved.flags(), *lazily, container_id]
    with (saved.images.parent / "dumping").open("wb") as said:
        dumping = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, pass_fds=[status], start_new_session=True
        )
    os.close(status)
    try:
        assert os.read(ready, 2) == b"\0"
        yield dumping
    finally:
        os.close(ready)
        # Where it failed, the runtime is left, and the CRIU that serves the pages.
        with suppress(ProcessLookupError):
            os.killpg(dumping.pid, signal.SIGKILL)
        dumping.wait()
