"""The settings of one profile, as the snapshot holds them. `hookctl` reads them from /etc/hookrun/config.yaml."""

from __future__ import annotations

import os

from hookrun.wrapper import STATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MASKED_NAMES = (
    "*SECRET*",
    "*PASSWORD*",
    "*PASSWD*",
    "*PASSPHRASE*",
    "*TOKEN*",
    "*CREDENTIAL*",
    "*PRIVATE?KEY*",
    "*PRIVATEKEY*",
    "*ACCESS?KEY*",
    "*ACCESSKEY*",
    "*API?KEY*",
    "*APIKEY*",
    "*AUTH*",
    "*COOKIE*",
    "*_PASS",
    "PASS",
    "*_PWD",
    "*_DSN",
    "*CONNECTION?STRING*",
)
MASKED_VALUES = (
    "*-----BEGIN *PRIVATE KEY*",
    "*://*:*@*",
    "AKIA*",
    "ghp_*",
    "gho_*",
    "ghs_*",
    "github_pat_*",
    "glpat-*",
    "xox?-*",
    "sk-*",
    "hvs.*",
    "eyJ*.*.*",
    "Bearer *",
    "Basic *",
)

# Every setting with its default: what a host without a snapshot runs with, and what hookctl checks a file against.
DEFAULTS: dict[str, Any] = {
    "runtime": "",  # path of a runtime that runs the container instead of hookrun's own core
    "record": {
        "enabled": True,
        "directory": "",  # "": see default_record_directory
        "configs": True,  # keep the configs before the change, each once
        "required": False,  # a record that can't be written fails the command
        "maxSize": 64 * 1024 * 1024,  # bytes of the current file, which is then rotated
        "maxTotal": 1024 * 1024 * 1024,  # bytes of all rotated files; the oldest go first
        "maxAge": 30 * 86400,  # seconds after which a rotated file goes
    },
    "mask": {"names": list(MASKED_NAMES), "values": list(MASKED_VALUES), "salt": ""},
}


class Settings:
    """The settings in effect for one call."""

    __slots__ = (
        "masked_names",
        "masked_values",
        "profile",
        "record_configs",
        "record_directory",
        "record_enabled",
        "record_max_age",
        "record_max_size",
        "record_max_total",
        "record_required",
        "runtime",
        "salt",
    )

    def __init__(self, profile: str, values: dict[str, Any], state: str = STATE) -> None:
        record: dict[str, Any] = values["record"]
        mask: dict[str, Any] = values["mask"]
        self.profile = profile
        self.runtime: str = values["runtime"]
        self.record_enabled: bool = record["enabled"]
        self.record_directory: str = record["directory"] or default_record_directory(state)
        self.record_configs: bool = record["configs"]
        self.record_required: bool = record["required"]
        self.record_max_size: int = record["maxSize"]
        self.record_max_total: int = record["maxTotal"]
        self.record_max_age: int = record["maxAge"]
        self.masked_names: list[str] = mask["names"]
        self.masked_values: list[str] = mask["values"]
        self.salt: str = mask["salt"]


def chosen(snapshot: dict[str, Any] | None, program: str, state: str = STATE) -> Settings:
    """The settings of the profile that is named like the program, argv[0]'s last part; else the host's own.

    `state` is the snapshot's directory.
    """
    name = os.path.basename(program)
    if snapshot is None:
        return Settings("", DEFAULTS, state)
    profiles = snapshot["profiles"]
    return Settings(name, profiles[name], state) if name in profiles else Settings("", snapshot["settings"], state)


def completed(values: dict[str, Any], defaults: dict[str, Any] = DEFAULTS) -> dict[str, Any]:
    """Settings with the defaults filled in, level by level."""
    full = dict(defaults)
    for name, value in values.items():
        default = defaults.get(name)
        full[name] = completed(value, default) if isinstance(value, dict) and isinstance(default, dict) else value
    return full


def default_record_directory(state: str) -> str:
    """Where the record is unless the settings say; `state` is the snapshot's directory.

    With the host's other logs, or inside a state directory of one's own.
    """
    if state != STATE:
        return f"{state}/record"
    if os.geteuid() == 0:
        return "/var/log/hookrun"
    home = os.environ.get("XDG_STATE_HOME") or os.environ.get("HOME", "") + "/.local/state"
    return f"{home}/hookrun"
