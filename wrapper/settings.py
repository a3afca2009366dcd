"""The settings of one profile, as the snapshot holds them. `hookctl` reads them from /etc/hookrun/config.yaml."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, cast

from hookrun.runtime.linux.files import read_bytes
from hookrun.wrapper import STATE

MASKED_NAMES = (
    "*SECRET*",
    "*PASSWORD*",
    "*PASSWD*",
    "*PASSPHRASE*",
    "*PASS",
    "*_PWD",
    "*TOKEN*",
    "*CREDENTIAL*",
    "*PRIVATE?KEY*",
    "*PRIVATEKEY*",
    "*ACCESS?KEY*",
    "*ACCESSKEY*",
    "*API?KEY*",
    "*APIKEY*",
    "*_KEY",
    "*AUTH*",
    "*COOKIE*",
    "*_DSN",
    "*CONNECTION?STRING*",
    "*DOCKERCFG*",
    "*DOCKERCONFIG*",
)
MASKED_VALUES = (
    "*PRIVATE KEY-----*",
    "*://*:*@*",
    "*uthorization: *",
    "*ookie: *",
    "*hooks.slack.com/services/*",
    "AGE-SECRET-KEY-*",
    "AIza*",
    "AKIA*",
    "ASIA*",
    "Basic *",
    "Bearer *",
    "SG.*",
    "dop_v1_*",
    "eyJ*",
    "gho_*",
    "ghp_*",
    "ghr_*",
    "ghs_*",
    "ghu_*",
    "github_pat_*",
    "glpat-*",
    "hvs.*",
    "npm_*",
    "pypi-*",
    "sk-*",
    "sk_live_*",
    "whsec_*",
    "xox?-*",
    "ya29.*",
)


class RecordValues(TypedDict):
    """The settings' part `record`."""

    enabled: bool
    supervise: bool
    """Wait for `runtime` instead of becoming it, so that the record has its exit status."""
    directory: str
    """"": see default_record_directory."""
    configs: bool
    """Keep the configs before the change, each once."""
    required: bool
    """A record that can't be written fails the command."""
    maxSize: int
    """Bytes of the current file, which is then rotated."""
    maxTotal: int
    """Bytes of all rotated files; the oldest go first."""
    maxAge: int
    """Seconds after which a rotated file goes."""


class MaskValues(TypedDict):
    """The settings' part `mask`; `salt` is the host's own, which hookctl puts in."""

    names: list[str]
    values: list[str]
    salt: str


class ErrorsValues(TypedDict):
    """The settings' part `errors`."""

    traceHint: bool
    """"(hookctl trace show ID)" at the end of the errors of create, run, exec and restore; never without a snapshot."""


class Values(TypedDict):
    """The settings of the host or of a profile, as the snapshot holds them."""

    runtime: str
    """Path of a runtime that runs the container instead of hookrun's own core."""
    record: RecordValues
    mask: MaskValues
    errors: ErrorsValues


# Every setting with its default: what a host without a snapshot runs with, and what hookctl checks a file against.
DEFAULTS: Values = {
    "runtime": "",
    "record": {
        "enabled": True,
        "supervise": False,
        "directory": "",
        "configs": True,
        "required": False,
        "maxSize": 64 * 1024 * 1024,
        "maxTotal": 1024 * 1024 * 1024,
        "maxAge": 30 * 86400,
    },
    "mask": {"names": list(MASKED_NAMES), "values": list(MASKED_VALUES), "salt": ""},
    "errors": {"traceHint": True},
}


@dataclass(slots=True)
class Settings:
    """The settings in effect for one call."""

    profile: str
    runtime: str
    record_enabled: bool
    record_supervise: bool
    record_directory: str
    record_configs: bool
    record_required: bool
    record_max_size: int
    record_max_total: int
    record_max_age: int
    masked_names: list[str]
    masked_values: list[str]
    salt: str
    trace_hint: bool

    @property
    def is_supervised(self) -> bool:
        """Whether to wait for the end of the runtime that is named in place of hookrun's own core."""
        return self.record_supervise and self.record_enabled


def read(profile: str, values: Values, state: str = STATE) -> Settings:
    """The settings of a profile, "" for the host's own, from what `completed` gives."""
    record = values["record"]
    return Settings(
        profile=profile,
        runtime=values["runtime"],
        record_enabled=record["enabled"],
        record_supervise=record["supervise"],
        record_directory=record["directory"] or default_record_directory(state),
        record_configs=record["configs"],
        record_required=record["required"],
        record_max_size=record["maxSize"],
        record_max_total=record["maxTotal"],
        record_max_age=record["maxAge"],
        masked_names=values["mask"]["names"],
        masked_values=values["mask"]["values"],
        salt=values["mask"]["salt"],
        trace_hint=values["errors"]["traceHint"],
    )


def chosen(snapshot: Mapping[str, Any] | None, program: str, state: str = STATE) -> Settings:
    """The settings of the profile that is named like the program, argv[0]'s last part; else the host's own.

    `state` is the snapshot's directory.
    """
    name = os.path.basename(program)
    if snapshot is None:
        return read("", completed({"errors": {"traceHint": False}}), state)
    profiles = snapshot["profiles"]
    return read(name, profiles[name], state) if name in profiles else read("", snapshot["settings"], state)


def completed(values: Mapping[str, Any], defaults: Values = DEFAULTS) -> Values:
    """Settings that leave some out, with the defaults filled in."""
    return cast(Values, overlaid(values, defaults))


def overlaid(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults with the values laid over them, level by level."""
    full = dict(defaults)
    for name, value in values.items():
        default = defaults.get(name)
        full[name] = overlaid(value, default) if isinstance(value, dict) and isinstance(default, dict) else value
    return full


def default_record_directory(state: str) -> str:
    """Where the record is unless the settings say; `state` is the snapshot's directory.

    With the host's other logs, or inside a state directory of one's own. Rootless Podman calls as root of a user
    namespace, in which the host's root is nobody.
    """
    if os.geteuid() == 0 and os.stat("/").st_uid == 0:
        return "/var/log/hookrun" if state == STATE else f"{state}/record"
    home = os.getenv("XDG_STATE_HOME") or (os.getenv("HOME") or _home()) + "/.local/state"
    return f"{home}/hookrun"


def notes_directory(state: str) -> str:
    """Where hookrun notes what it has rewritten: `originals`. Root's notes go with the bundles, at a restart."""
    if os.geteuid() == 0 and os.stat("/").st_uid == 0:
        return "/run/hookrun-bundles" if state == STATE else f"{state}/bundles"
    return f"{default_record_directory(state)}/bundles"


def _home() -> str:
    """The user's home where the caller does not say: Podman passes no HOME to `start`, `kill` and `delete`."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        inside, outside, _ = map(int, file.readline().split())
    user = str(os.geteuid() - inside + outside).encode()
    for line in read_bytes("/etc/passwd").splitlines():
        entry = line.split(b":")
        if len(entry) > 5 and entry[2] == user:
            return os.fsdecode(entry[5])
    return ""  # a user without an entry has no home
