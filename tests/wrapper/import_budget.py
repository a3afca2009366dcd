"""The modules that each command of the hot path may load, ours without `hookrun.`; what is here is paid at each call.

A module more has to earn its milliseconds: `tests/wrapper/test_hot_path.py` says what it costs.
"""

from __future__ import annotations

_COMMON = """
    __future__ _json runtime runtime.cgroups runtime.cgroups.freezer runtime.commands runtime.container
    runtime.context runtime.errors runtime.jsonio runtime.linux runtime.linux.os runtime.linux.pids runtime.log
    wrapper wrapper.argv wrapper.digest wrapper.engine wrapper.grammar wrapper.masking wrapper.ownership
    wrapper.record wrapper.settings wrapper.shim wrapper.snapshot
"""
_OWN = {
    "create": """
    _ctypes _sha256 runtime.cgroup_mounts runtime.cgroups.choice runtime.cgroups.devices runtime.cgroups.entrance
    runtime.cgroups.files runtime.cgroups.manager runtime.cgroups.resources runtime.cgroups.v1
    runtime.cgroups.v1_controllers runtime.channel runtime.commands.create runtime.config
    runtime.container_directory runtime.container_mounts runtime.copy_up runtime.covered_paths runtime.creation
    runtime.dev runtime.devices runtime.go_decoder runtime.handover runtime.hooks runtime.host_mounts
    runtime.id_mapped runtime.init runtime.linux.attributes runtime.linux.capabilities runtime.linux.filesystems
    runtime.linux.imports runtime.linux.memory runtime.linux.mount_options runtime.linux.mounts
    runtime.linux.namespaces runtime.linux.network runtime.linux.numbers runtime.linux.paths runtime.linux.procfs
    runtime.linux.syscalls runtime.linux.whole_file runtime.mappings runtime.mount_flags runtime.mountinfo
    runtime.needs runtime.process runtime.rootfs runtime.rootfs_mounts runtime.sections runtime.shape
    runtime.spawn runtime.sysctls runtime.terminal select wrapper.bundle wrapper.gate wrapper.injection
    wrapper.kept_configs wrapper.verdict
    """,
    "start": """
    runtime.commands.start
    """,
    "state": """
    runtime.commands.state
    """,
    "exec": """
    _ctypes runtime.cgroups.choice runtime.cgroups.entrance runtime.cgroups.files runtime.cgroups.manager
    runtime.cgroups.v1 runtime.channel runtime.commands.exec runtime.entry runtime.execution runtime.foreground
    runtime.handover runtime.linux.attributes runtime.linux.capabilities runtime.linux.filesystems
    runtime.linux.imports runtime.linux.namespaces runtime.linux.numbers runtime.linux.syscalls runtime.needs
    runtime.process runtime.sections runtime.shape runtime.spawn runtime.terminal select wrapper.process
    """,
    "kill": """
    runtime.commands.kill
    """,
    "delete": """
    runtime.cgroups.choice runtime.cgroups.files runtime.cgroups.manager runtime.cgroups.v1 runtime.commands.delete
    runtime.container_directory runtime.linux.whole_file select
    """,
}


def of(command: str) -> set[str]:
    """What a command may load beyond what the interpreter starts with."""
    return {*_COMMON.split(), *_OWN[command].split()}
