"""Reading a bundle's config.json and refusing what can't be run, before anything is made.

Sources: config.md, config-linux.md; runc's specconv and configs/validate for the rules and the words.
"""

from __future__ import annotations

import os
from typing import Any

from hookrun.runtime import jsonio
from hookrun.runtime.documents import Config
from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import files, namespaces, paths
from hookrun.runtime.spec import devices, go_decoder, hooks, net_devices, placement, process, shape
from hookrun.runtime.spec.sections import linux

FILE_NAME = "config.json"
_IPC_SYSCTLS = frozenset(
    (
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    )
)
_CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted")


def read(bundle: str) -> Any:
    """The JSON of a bundle's config.json, in the spec's spelling. Raises Failure."""
    path = f"{bundle}/{FILE_NAME}"
    try:
        data = files.read_bytes(path)
    except FileNotFoundError:
        raise Failure(f"JSON specification file {FILE_NAME} not found") from None
    except OSError as error:
        raise Failure(f"open {path}: {reason(error)}") from None
    try:
        config = jsonio.loads(data)
    except ValueError as error:
        raise Failure(f"{path}: {error}") from None
    go_decoder.normalize(config, shape.CONFIG)
    return config


def check(found: Any) -> Config:
    """The config, found fit to be run, older forms brought to today's. Raises Failure."""
    check_form(found)
    config: Config = found
    process.validate(config.get("process"))
    _check_root(config)
    for index, mount in enumerate(config.get("mounts") or ()):
        if not mount.get("destination"):
            raise Failure(f"{FILE_NAME}: mounts.{index}.destination: must not be empty")
    kinds = _check_namespaces(config)
    _check_hostname(config, kinds)
    _check_restrictions(config, kinds)
    _check_mappings(config, kinds)
    process.check_reach(config["process"], linux(config))
    _check_time_offsets(config, kinds)
    _check_sysctls(config, kinds)
    _check_hooks(config)
    if linux(config).get("netDevices"):
        net_devices.check(linux(config)["netDevices"], has_network_namespace="network" in kinds)
    if linux(config).get("personality") is not None or linux(config).get("memoryPolicy") is not None:
        placement.check(linux(config))
    return config


def check_form(config: Any) -> None:
    """Bring older forms to today's; refuse types and numbers that could mean something else to another reader.

    What another runtime is to read passes here first, where policies judge it. Raises Failure.
    """
    if not isinstance(config, dict):
        raise Failure(f"{FILE_NAME}: must be a JSON object")
    _modernize(config)
    shape.check(config, shape.CONFIG, FILE_NAME)
    process.check_ids((config.get("process") or {}).get("user") or {})
    devices.check(config)


def _modernize(config: dict[str, Any]) -> None:
    """Configs from before 1.0 list capabilities once, for all sets (runtime-spec 1.0.0-rc5 split them)."""
    found = config.get("process")
    if isinstance(found, dict) and isinstance(found.get("capabilities"), list):
        found["capabilities"] = dict.fromkeys(_CAPABILITY_SETS, found["capabilities"])


def check_rootfs(path: str) -> None:
    """Refuse a rootfs that is missing or reached through a symlink (runc: validate.rootfs). Raises Failure."""
    with failing(f"invalid rootfs: stat {path}"):
        os.stat(path)
    if paths.realpath(path) != path:
        raise Failure("invalid rootfs: not an absolute path, or a symlink")


def _check_root(config: Config) -> None:
    if not config.get("root"):
        raise Failure("root must be specified")
    if not config["root"].get("path"):
        raise Failure("invalid rootfs: root.path must not be empty")


def _check_namespaces(config: Config) -> dict[str, str]:
    kinds: dict[str, str] = {}
    for entry in linux(config).get("namespaces") or ():
        kind = entry.get("type")
        if kind not in namespaces.FLAGS:
            raise Failure(f'namespace "{kind}" does not exist')
        if kind in kinds:
            raise Failure(f'malformed spec file: duplicated ns "{kind}"')
        kinds[kind] = entry.get("path") or ""
        if not os.path.exists(f"/proc/self/ns/{namespaces.PROC_NAMES[kind]}"):
            raise Failure(f"{kind} namespaces aren't enabled in the kernel")
    return kinds


def _check_hostname(config: Config, kinds: dict[str, str]) -> None:
    for field in ("hostname", "domainname"):
        if config.get(field) and "uts" not in kinds:
            raise Failure(f"unable to set {field} without a private UTS namespace")


def _check_restrictions(config: Config, kinds: dict[str, str]) -> None:
    restricted = linux(config).get("maskedPaths") or linux(config).get("readonlyPaths")
    if restricted and "mount" not in kinds:
        raise Failure("unable to restrict sys entries without a private MNT namespace")


def _check_mappings(config: Config, kinds: dict[str, str]) -> None:
    """Without a user namespace runc does not look at mappings (specconv/spec_linux.go)."""
    mapped = linux(config).get("uidMappings") or linux(config).get("gidMappings")
    if "user" not in kinds:
        if os.geteuid() != 0:
            raise Failure("rootless container requires user namespaces")
        return
    if not kinds["user"] and not mapped:
        raise Failure("user namespaces enabled, but no namespace path to join nor mappings to apply specified")
    if kinds["user"] and mapped:
        raise Failure(
            "user namespaces enabled, but both namespace path and mapping specified -- you may only provide one"
        )


def _check_time_offsets(config: Config, kinds: dict[str, str]) -> None:
    offsets = linux(config).get("timeOffsets")
    if offsets is not None and "time" not in kinds:
        raise Failure("time namespace offsets specified, but time namespace isn't enabled in the config")
    if offsets and kinds["time"]:
        raise Failure(
            "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one"
        )


def _check_sysctls(config: Config, kinds: dict[str, str]) -> None:
    for name in linux(config).get("sysctl") or ():
        _check_sysctl(_with_dots(name), kinds)


def _with_dots(name: str) -> str:
    """sysctl(8) takes `net/ipv4/conf/eth0.1/x` as well as `net.ipv4.conf.eth0/1.x`; the second form is returned."""
    first = next((character for character in name if character in "./"), ".")
    return name if first == "." else name.translate({ord("."): "/", ord("/"): "."})


def _check_sysctl(name: str, kinds: dict[str, str]) -> None:
    """Refuse a sysctl that is not the container's own (runc: validate.sysctl)."""
    if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        if "ipc" not in kinds:
            raise Failure(f'sysctl "{name}" is not allowed in the hosts ipc namespace')
    elif name.startswith("net."):
        if "network" not in kinds or _is_own_network(kinds["network"]):
            raise Failure(f'sysctl "{name}" not allowed in host network namespace')
    elif name == "kernel.hostname" and "uts" in kinds:
        raise Failure(f'sysctl "{name}" is not allowed as it conflicts with the OCI "hostname" field')
    elif name.startswith("user."):
        if "user" not in kinds:
            raise Failure(f"setting ucounts without a user namespace not allowed: {name}")
    elif name != "kernel.domainname" or "uts" not in kinds:
        raise Failure(f'sysctl "{name}" is not in a separate kernel namespace')


def _is_own_network(path: str) -> bool:
    if not path:
        return False
    with failing(f"invalid netns path: stat {path}"):
        return namespaces.is_same("/proc/self/ns/net", path)


def _check_hooks(config: Config) -> None:
    for stage in hooks.STAGES:
        for index, hook in enumerate(hooks.of_stage(config, stage)):
            where = f"{FILE_NAME}: hooks.{stage}.{index}"
            if not (hook.get("path") or "").startswith("/"):
                raise Failure(f"{where}.path: a hook's path must be absolute")
            if hook.get("timeout") is not None and hook["timeout"] <= 0:
                raise Failure(f"{where}.timeout: must be greater than zero")
