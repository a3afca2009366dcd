"""Attacks on the process that enters a container: its descriptors, its memory, its program, its working directory.

The overwritten program (CVE-2019-5736) is in tests/wrapper/start/test_seal.py.

Where Debian's runc 1.1.5 falls, it is attacked too, to show that the attack is one. Targets are files of the test's own.
"""

from __future__ import annotations

import json

import pytest

from tests.security.conftest import compile_static
from tests.support.bundles import Bundle
from tests.support.runtimes import Result, Runtime, wait_for

# Watches for a process to come into the container by `exec`, and takes what it can get of it.
WATCH = r"""
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <unistd.h>
static int is_runtime(const char *name) {
    return strstr(name, "python") || strstr(name, "runc") || strstr(name, "hookrun") || strstr(name, "/heap");
}
static int attempt(int pid) {
    char path[64], target[256];
    int won = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *d = opendir(path);
    if (d) { struct dirent *e; while ((e = readdir(d))) {
        if (e->d_name[0] == '.') continue;
        char link[320]; snprintf(link, sizeof link, "/proc/%d/fd/%s", pid, e->d_name);
        ssize_t n = readlink(link, target, sizeof target - 1);
        if (n > 0) { target[n] = 0; if (target[0] == '/' && atoi(e->d_name) > 2) { printf("WON fd %s %s\n", e->d_name, target); won = 1; } }
    } closedir(d); }
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n > 0) { target[n] = 0; if (is_runtime(target)) { printf("WON exe %s\n", target); won = 1; } }
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    int fd = open(path, O_RDWR);
    if (fd >= 0 && n > 0 && is_runtime(target)) { printf("WON mem\n"); won = 1; }
    if (fd >= 0) close(fd);
    snprintf(path, sizeof path, "/proc/%d/map_files", pid);
    d = opendir(path);
    if (d) { struct dirent *e; while ((e = readdir(d))) {
        char file[360]; snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        ssize_t m = readlink(file, target, sizeof target - 1);
        if (m > 0) { target[m] = 0; if (is_runtime(target)) { printf("WON map_files %s\n", target); won = 1;
            int heap = open(file, O_RDWR); if (heap >= 0) { printf("WON writable\n"); close(heap); } } }
    } closedir(d); }
    return won;
}
int main(void) {
    setvbuf(stdout, 0, _IOLBF, 0);
    printf("watching\n");
    for (;;) for (int pid = 2; pid < 400; pid++) attempt(pid);
}
"""


def test_nobody_inside_can_look_into_what_joins(bundle: Bundle, sealed_hookrun: Runtime) -> None:
    """CVE-2016-9962: while `exec` enters, a process inside must not open its descriptors, its memory or its program."""
    compile_static(WATCH, bundle.rootfs / "bin/watch")
    bundle.command("/bin/watch")
    container_id = sealed_hookrun.run_detached(bundle.path)
    output = bundle.path / f"{container_id}.output"
    wait_for(lambda: "watching" in output.read_text(), "the watcher")
    for _ in range(40):
        assert sealed_hookrun.exec(container_id, "true").status == 0
    assert "WON" not in output.read_text()


def test_no_descriptor_of_the_host_is_left_open(bundle: Bundle, sealed_hookrun: Runtime) -> None:
    """CVE-2024-21626: a descriptor of a host directory, and a working directory that is one."""
    bundle.shell("ls -l /proc/self/fd | grep -v '/proc/' | sed 's/.* -> //'")
    for result in (
        sealed_hookrun.run(bundle.path),
        _exec(sealed_hookrun, bundle, "sh", "-c", "ls -l /proc/self/fd | sed 's/.* -> //'"),
    ):
        assert result.status == 0, result.err
        targets = [
            line
            for line in result.out.splitlines()
            if line.startswith("/") and not line.startswith(("/proc/", "/dev/null", "/dev/pts"))
        ]
        assert targets == []


def _exec(runtime: Runtime, bundle: Bundle, *command: str) -> Result:
    bundle.command("sleep", "1000")
    return runtime.exec(runtime.run_detached(bundle.path), *command)


@pytest.mark.parametrize("number", range(3, 12))
def test_a_working_directory_through_a_leaked_descriptor(bundle: Bundle, sealed_hookrun: Runtime, number: int) -> None:
    bundle.process["cwd"] = f"/proc/self/fd/{number}"
    bundle.shell("pwd; ls ../../../..")
    result = sealed_hookrun.run(bundle.path)
    assert result.status != 0
    assert result.out == ""


@pytest.mark.parametrize("number", range(3, 12))
def test_exec_with_a_working_directory_through_a_leaked_descriptor(
    bundle: Bundle, sealed_hookrun: Runtime, number: int
) -> None:
    bundle.command("sleep", "1000")
    container_id = sealed_hookrun.run_detached(bundle.path)
    result = sealed_hookrun.call("exec", "--cwd", f"/proc/self/fd/{number}", container_id, "pwd")
    assert (result.status, result.out) in ((255, ""), (0, "/\n")), result


def test_a_working_directory_that_is_a_link_to_a_descriptor(bundle: Bundle, sealed_hookrun: Runtime) -> None:
    (bundle.rootfs / "way-out").symlink_to("/proc/self/fd/7")
    bundle.process["cwd"] = "/way-out"
    bundle.command("pwd")
    assert sealed_hookrun.run(bundle.path).status != 0


def test_exec_has_no_inheritable_capabilities(bundle: Bundle, either: Runtime) -> None:
    """CVE-2022-29162."""
    bundle.command("sleep", "1000")
    container_id = either.run_detached(bundle.path)
    result = either.call("exec", "--cap", "CAP_NET_RAW", container_id, "grep", "-E", "^CapInh", "/proc/self/status")
    assert result.out == "CapInh:\t0000000000000000\n"


def test_a_huge_config_value_wraps_around_nowhere(bundle: Bundle, sealed_hookrun: Runtime) -> None:
    """CVE-2021-43784: lengths that wrapped let the child read its mappings from the attacker's text."""
    bundle.config["annotations"] = {"long": "x" * (1 << 20)}
    bundle.process["env"] += [f"V{number}=" + "y" * 65536 for number in range(20)]
    bundle.shell("id -u; echo ${#V3}")
    assert sealed_hookrun.run(bundle.path).out.split() == ["0", "65536"]


@pytest.mark.parametrize(
    "name",
    ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONINSPECT", "PYTHONWARNINGS"],
)
def test_the_callers_environment_has_no_say(bundle: Bundle, sealed_hookrun: Runtime, name: str) -> None:
    """Variables that would change what the interpreter or the loader loads."""
    place = bundle.path / "planted"
    place.mkdir()
    for module in ("os", "json", "sitecustomize", "usercustomize", "_json", "encodings"):
        (place / f"{module}.py").write_text("import sys; sys.stderr.write('PLANTED\\n'); sys.exit(99)\n")
    value = str(place / "os.py") if name in ("PYTHONSTARTUP",) else str(place)
    if name == "PYTHONINSPECT":
        value = "1"
    bundle.shell("env; echo done")
    result = sealed_hookrun.run(bundle.path, env={name: value} if name != "LD_PRELOAD" else {"LD_PRELOAD": ""})
    assert result.status == 0, result.err
    assert "PLANTED" not in result.out + result.err
    assert value not in result.out.replace("1", "") or name == "PYTHONINSPECT"
    assert result.out.endswith("done\n")


def test_modules_in_the_bundle_are_not_imported(bundle: Bundle, sealed_hookrun: Runtime) -> None:
    for module in ("json", "sitecustomize", "os", "select", "_socket", "re", "hookrun"):
        (bundle.path / f"{module}.py").write_text("import sys; sys.exit('PLANTED')\n")
        (bundle.rootfs / f"{module}.py").write_text("import sys; sys.exit('PLANTED')\n")
    bundle.config["hooks"] = {"createContainer": [{"path": "/bin/true"}]}
    bundle.shell("echo fine")
    result = sealed_hookrun.run(bundle.path, cwd=bundle.path)
    assert (result.status, result.out) == (0, "fine\n"), result.err


def test_files_of_the_image_are_not_imported_after_the_pivot(bundle: Bundle, sealed_hookrun: Runtime) -> None:
    """Python's library path inside the container is the image's: nothing of it may be loaded, in any mode."""
    for directory in ("usr/lib/python3.11", "usr/lib/python3.11/lib-dynload"):
        place = bundle.rootfs / directory
        place.mkdir(parents=True)
        for module in ("select", "signal", "socket", "termios", "fcntl", "traceback", "json", "re", "stat", "shutil"):
            (place / f"{module}.py").write_text("open('/planted', 'w').write(__name__)\n")
    bundle.process["apparmorProfile"] = ""
    bundle.config["hooks"] = {"createContainer": [{"path": "/bin/true"}], "startContainer": [{"path": "/bin/true"}]}
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
    }
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 1}
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE", "priority": 0}
    bundle.linux["personality"] = {"domain": "LINUX32"}
    bundle.shell("ls /planted; uname -m")
    result = sealed_hookrun.run(bundle.path)
    assert result.out == "i686\n", result
    assert not (bundle.rootfs / "planted").exists()
    container_id = _detached(sealed_hookrun, bundle)
    process = {**bundle.process, "args": ["true"]}
    (bundle.path / "process.json").write_text(json.dumps(process))
    assert sealed_hookrun.call("exec", "--process", str(bundle.path / "process.json"), container_id).status == 0
    assert not (bundle.rootfs / "planted").exists()


def _detached(runtime: Runtime, bundle: Bundle) -> str:
    bundle.command("sleep", "1000")
    return runtime.run_detached(bundle.path)
