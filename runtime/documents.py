"""The JSON documents of a container as types: config.json (config.md, config-linux.md) and runc's state.json.

`spec.shape` checks that a config is of these types, `container.is_whole` that a state.json is. Every field of a config
may be missing, or null, which means the same: it is asked for by `get`. What is not here passes through untouched.
"""

from __future__ import annotations

from typing import Any, TypedDict

from hookrun.runtime.linux.seccomp import Profile

Capabilities = dict[str, list[str]]
"""The names in each of the five sets."""
Affinity = dict[str, str]
"""CPUs, `initial` and `final`."""
IOPriority = TypedDict("IOPriority", {"class": str, "priority": int}, total=False)


class Size(TypedDict, total=False):
    """Of a terminal, in characters."""

    height: int
    width: int


class User(TypedDict, total=False):
    """Whom a process runs as."""

    uid: int
    gid: int
    umask: int
    additionalGids: list[int]


class Rlimit(TypedDict, total=False):
    """A resource limit of a process."""

    type: str
    soft: int
    hard: int


class Scheduler(TypedDict, total=False):
    """Arguments of sched_setattr(2)."""

    policy: str
    nice: int
    priority: int
    flags: list[str]
    runtime: int
    deadline: int
    period: int


class Process(TypedDict, total=False):
    """The container's process, or one of `exec`."""

    terminal: bool
    consoleSize: Size
    user: User
    args: list[str]
    env: list[str]
    cwd: str
    capabilities: Capabilities
    rlimits: list[Rlimit]
    noNewPrivileges: bool
    apparmorProfile: str
    oomScoreAdj: int
    selinuxLabel: str
    scheduler: Scheduler
    ioPriority: IOPriority
    execCPUAffinity: Affinity


class Root(TypedDict, total=False):
    """The rootfs."""

    path: str
    readonly: bool


class IdMapping(TypedDict, total=False):
    """A range of ids of a user namespace."""

    containerID: int
    hostID: int
    size: int


class MountEntry(TypedDict, total=False):
    """One of `mounts`."""

    destination: str
    type: str
    source: str
    options: list[str]
    uidMappings: list[IdMapping]
    gidMappings: list[IdMapping]


class Hook(TypedDict, total=False):
    """A program that runs at a stage of the container's life; `timeout` in seconds."""

    path: str
    args: list[str]
    env: list[str]
    timeout: int


class Namespace(TypedDict, total=False):
    """A namespace to make, or to join at a path."""

    type: str
    path: str


class Device(TypedDict, total=False):
    """A device node."""

    path: str
    type: str
    major: int
    minor: int
    fileMode: int
    uid: int
    gid: int


class DeviceRule(TypedDict, total=False):
    """Which devices may, or may not, be used."""

    allow: bool
    type: str
    major: int
    minor: int
    access: str


class Memory(TypedDict, total=False):
    """Limits in bytes."""

    limit: int
    reservation: int
    swap: int
    kernel: int
    kernelTCP: int
    swappiness: int
    disableOOMKiller: bool
    useHierarchy: bool
    checkBeforeUpdate: bool


class Cpu(TypedDict, total=False):
    """Times in microseconds."""

    shares: int
    quota: int
    burst: int
    period: int
    realtimeRuntime: int
    realtimePeriod: int
    cpus: str
    mems: str
    idle: int


class Pids(TypedDict, total=False):
    """The limit on processes."""

    limit: int


class WeightDevice(TypedDict, total=False):
    """The weight of one block device."""

    major: int
    minor: int
    weight: int
    leafWeight: int


class Throttle(TypedDict, total=False):
    """The rate of one block device, a second."""

    major: int
    minor: int
    rate: int


class BlockIO(TypedDict, total=False):
    """Limits of block devices."""

    weight: int
    leafWeight: int
    weightDevice: list[WeightDevice]
    throttleReadBpsDevice: list[Throttle]
    throttleWriteBpsDevice: list[Throttle]
    throttleReadIOPSDevice: list[Throttle]
    throttleWriteIOPSDevice: list[Throttle]


class HugepageLimit(TypedDict, total=False):
    """A limit in bytes."""

    pageSize: str
    limit: int


class InterfacePriority(TypedDict, total=False):
    """The priority of one network device."""

    name: str
    priority: int


class Network(TypedDict, total=False):
    """Marks for the network's traffic."""

    classID: int
    priorities: list[InterfacePriority]


class Rdma(TypedDict, total=False):
    """Limits of one RDMA device."""

    hcaHandles: int
    hcaObjects: int


class Resources(TypedDict, total=False):
    """What the cgroups allow."""

    devices: list[DeviceRule]
    memory: Memory
    cpu: Cpu
    pids: Pids
    blockIO: BlockIO
    hugepageLimits: list[HugepageLimit]
    network: Network
    rdma: dict[str, Rdma]
    unified: dict[str, str]


class IntelRdt(TypedDict, total=False):
    """Shares of caches and of memory bandwidth."""

    closID: str
    schemata: list[str]
    l3CacheSchema: str
    memBwSchema: str
    enableMonitoring: bool
    enableCMT: bool
    enableMBM: bool


class MemoryPolicy(TypedDict, total=False):
    """Arguments of set_mempolicy(2)."""

    mode: str
    nodes: str
    flags: list[str]


class Personality(TypedDict, total=False):
    """Argument of personality(2)."""

    domain: str
    flags: list[str]


class TimeOffset(TypedDict, total=False):
    """What a clock is ahead of the host's."""

    secs: int
    nanosecs: int


class NetDevice(TypedDict, total=False):
    """The name that a network device gets in the container."""

    name: str


class Linux(TypedDict, total=False):
    """What Linux alone has."""

    uidMappings: list[IdMapping]
    gidMappings: list[IdMapping]
    sysctl: dict[str, str]
    resources: Resources
    cgroupsPath: str
    namespaces: list[Namespace]
    devices: list[Device]
    netDevices: dict[str, NetDevice]
    seccomp: Profile
    rootfsPropagation: str
    maskedPaths: list[str]
    readonlyPaths: list[str]
    mountLabel: str
    intelRdt: IntelRdt
    memoryPolicy: MemoryPolicy
    personality: Personality
    timeOffsets: dict[str, TimeOffset]


class Config(TypedDict, total=False):
    """A container."""

    ociVersion: str
    process: Process
    root: Root
    hostname: str
    domainname: str
    mounts: list[MountEntry]
    hooks: dict[str, list[Hook]]
    annotations: dict[str, str]
    linux: Linux


class SavedNamespace(TypedDict):
    """A namespace in state.json: `NEWNET` and so on, and the path that was joined, "" for a new one."""

    type: str
    path: str


class SavedConfig(TypedDict, total=False):
    """What state.json has of the config, in runc's words."""

    rootfs: str
    readonlyfs: bool
    hostname: str
    namespaces: list[SavedNamespace]
    cgroups: dict[str, Any]
    """As `cgroups.choice.state_form` has it."""
    labels: list[str]
    oci_version: str
    hook_stages: list[str]


class SavedState(TypedDict, total=False):
    """state.json, in so far as others read it."""

    id: str
    init_process_pid: int
    init_process_start: int
    created: str
    config: SavedConfig
    rootless: bool
    cgroup_paths: dict[str, str]
    namespace_paths: dict[str, str]
    external_descriptors: list[str]
    intel_rdt_path: str
    intel_rdt_created: bool
