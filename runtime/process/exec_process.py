"""The process that `exec` is asked for, on its command line or in the file of --process (runc: exec.go)."""

from __future__ import annotations

from typing import Any

from hookrun.runtime import jsonio
from hookrun.runtime.context import Options
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import files
from hookrun.runtime.spec import go_decoder, shape

# What a process of --process has from the container's own where it does not say (runc: newInitConfig).
_INHERITED = (
    "apparmorProfile",
    "capabilities",
    "execCPUAffinity",
    "ioPriority",
    "rlimits",
    "scheduler",
    "selinuxLabel",
)


def process_from_flags(own: dict[str, Any], options: Options, given: set[str], args: list[str]) -> dict[str, Any]:
    """The process of the command line: the container's `own` with what the flags change. Raises Failure."""
    process = dict(own)
    process["args"] = args
    process["terminal"] = options["tty"] if "tty" in given else False
    for flag, field in (("cwd", "cwd"), ("apparmor", "apparmorProfile"), ("process-label", "selinuxLabel")):
        if options[flag]:
            process[field] = options[flag]
    if "no-new-privs" in given:
        process["noNewPrivileges"] = options["no-new-privs"]
    process["env"] = [*(process.get("env") or []), *(options["env"] or [])]
    process["user"] = _user(process.get("user") or {}, options)
    if options["cap"]:
        process["capabilities"] = _with_capabilities(process.get("capabilities") or {}, options["cap"])
    return process


def _with_capabilities(sets: dict[str, Any], added: list[str]) -> dict[str, Any]:
    names = ["bounding", "effective", "permitted"]
    # What is not inheritable can't be ambient, and --cap makes nothing inheritable (runc: exec.go).
    if sets.get("inheritable") is not None:
        names.append("ambient")
    return {**sets, **{name: [*(sets.get(name) or []), *added] for name in names}}


def _user(user: dict[str, Any], options: Options) -> dict[str, Any]:
    user = dict(user)
    if options["user"]:
        uid, separator, gid = options["user"].partition(":")
        if separator:
            user["gid"] = _id(gid, "gid")
        user["uid"] = _id(uid, "uid")
    gids = options["additional-gids"] or []
    for gid_number in gids:
        if gid_number < 0:
            raise Failure(f"additional-gids must be a positive number {gid_number}")
    user["additionalGids"] = [*(user.get("additionalGids") or []), *gids]
    return user


def _id(text: str, kind: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise Failure(
            f'parsing {text} as int for {kind} failed: strconv.Atoi: parsing "{text}": invalid syntax'
        ) from None
    return number


def completed(process: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The process of --process with what it leaves out, as far as that is the container's `own`."""
    return {**process, **{field: own[field] for field in _INHERITED if own.get(field) and not process.get(field)}}


def process_from_file(path: str, is_for_another: bool = False) -> dict[str, Any]:
    """The process object of --process; one that another runtime is to read has to mean the same to every decoder.

    Raises Failure.
    """
    try:
        found, is_read_alike = jsonio.decoded(files.read_bytes(path))
    except OSError as error:
        raise Failure(f"open {path}: {reason(error)}") from None
    except ValueError as error:
        raise Failure(f"{path}: {error}") from None
    if not isinstance(found, dict):
        raise Failure(f"{path}: must be a JSON object")
    is_respelled = go_decoder.normalize(found, shape.PROCESS)
    if is_for_another and (is_respelled or not is_read_alike):
        raise Failure(
            f"{path}: the runtime behind hookrun may read it differently: give each field once, spelled as in the spec"
        )
    shape.check(found, shape.PROCESS, path)
    return found
