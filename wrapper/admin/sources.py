"""What the administrator and the fleet write, read and checked: config.yaml, policies.d, hooks.d.

A fleet's bundle is laid out alike. Both are in force; of two policies or hook files with one name, and of two values
for one setting, the fleet's counts.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import jsonschema
from loguru import logger

from hookrun.hooks.compiler import compile as hooks
from hookrun.hooks.compiler import directories
from hookrun.hooks.errors import HookError
from hookrun.hooks.inject import CdiSettings, Compiled
from hookrun.policies import compiler, document, in_bundle
from hookrun.policies.compiler import Source
from hookrun.policies.document import Invalid, Node
from hookrun.policies.policy import Policy
from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper import ownership, settings, snapshot
from hookrun.wrapper.admin.host import Host

POLICIES = "policies.d"
_SCHEMA = Path(__file__).with_name("settings.json")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass
class Settings:
    """config.yaml, with the defaults filled in."""

    values: settings.Values
    profiles: dict[str, settings.Values]
    hooks: hooks.Settings
    on_error: str
    fleet: dict[str, Any]


@dataclass
class Sources:
    """All that a host is configured with. `problems` are lines for the user; with any, nothing may be applied."""

    settings: Settings
    policies: list[Source]
    hooks: Compiled
    texts: dict[str, str]
    problems: list[str] = field(default_factory=list)


def read(host: Host) -> Sources:
    """Read and check everything. What is wrong is collected, not raised."""
    problems: list[str] = []
    texts: dict[str, str] = {}
    if host.bundle:
        _read(host.bundle / in_bundle.MANIFEST, texts, problems)
    found = _settings(host, texts, problems)
    policies = _policies(host, texts, problems)
    compiled, wrong = hooks.compiled(_with_bundle(found.hooks, host.bundle), host.config, ownership.untrusted)
    return Sources(found, policies, compiled, texts, problems + wrong)


def policy_files(directory: Path) -> list[Path]:
    """The policy files of a directory, by name."""
    return sorted(path for path in directory.glob("*") if path.suffix in (".yaml", ".yml") and path.name[0] != ".")


def policy_directories(host: Host) -> list[Path]:
    """Where this host's policies are: the administrator's own, and the fleet's."""
    return [host.policies, *([host.bundle / POLICIES] if host.bundle else [])]


def _policies(host: Host, texts: dict[str, str], problems: list[str]) -> list[Source]:
    theirs = _policies_in(policy_files(host.bundle / POLICIES) if host.bundle else [], texts, problems)
    theirs += _policies_in([host.expired_policy] if host.expired_policy.exists() else [], texts, problems)
    names = {source.name for source in theirs}
    own = _policies_in(policy_files(host.policies), texts, problems)
    for source in own:
        if source.name in names:
            logger.warning("{}: the fleet's policy {} is in force instead", source.policy.file, source.name)
    found = theirs + [source for source in own if source.name not in names]
    problems += filter(None, (trouble(place) for place in (host.config, host.policies) if place.is_dir()))
    problems += [line for source in found for line in _untrusted_hooks(source.policy)]
    try:
        return compiler.ordered(found)
    except Invalid as problem:
        problems.append(problem.text)
        return found


def _policies_in(paths: list[Path], texts: dict[str, str], problems: list[str]) -> list[Source]:
    found: list[Source] = []
    for path in paths:
        text = _read(path, texts, problems)
        if text is not None:
            sources, wrong = compiler.examine(text, str(path))
            found += sources
            problems += [line for source in sources for line in _lists(source, texts)]
            problems += [problem.text for problem in wrong]
    return found


def _with_bundle(settings: hooks.Settings, bundle: Path | None) -> hooks.Settings:
    """The settings' part `hooks`, with the directories of a fleet's bundle as those that count most."""
    if bundle is None:
        return settings
    directories = [*settings["cdi"]["directories"], *_existing(bundle / "cdi")]
    cdi: CdiSettings = {**settings["cdi"], "directories": directories}
    return {**settings, "directories": [*settings["directories"], *_existing(bundle / "hooks.d")], "cdi": cdi}


def _existing(directory: Path) -> list[str]:
    return [str(directory)] if directory.is_dir() else []


def _lists(source: Source, texts: dict[str, str]) -> list[str]:
    """Note the files that a policy takes lists from; lines on those that others can write, or replace."""
    problems = []
    for path, text in source.document.files.items():
        texts[path] = text
        places = dict.fromkeys((Path(path), Path(path).parent, Path(path).resolve().parent))
        problems += [line for place in places if (line := trouble(place))]
    return problems


def _untrusted_hooks(policy: Policy) -> list[str]:
    """Lines on the programs of a policy's hooks that are missing or that others can write."""
    problems = []
    for stage, hook, line in policy.hooks:
        try:
            directories.check_program({"stages": [stage], "hook": hook}, ownership.untrusted)
        except HookError as error:
            problems.append(f"{policy.file}:{line}:1: {error}")
    return problems


def _settings(host: Host, texts: dict[str, str], problems: list[str]) -> Settings:
    values = _settings_in(host.settings_file, texts, problems)
    fleet = values.pop("fleet", {})
    if host.bundle:
        values = settings.overlaid(_settings_in(host.bundle / host.settings_file.name, texts, problems), values)
        values.pop("fleet", None)  # which fleet a host follows, and as what, is the host's own matter
    profiles = values.pop("profiles", {})
    hook_settings = cast(hooks.Settings, settings.overlaid(values.pop("hooks", {}), hooks.DEFAULTS))
    on_error = values.pop("onError", snapshot.DENY)
    full = settings.completed(values)
    completed = {name: settings.completed(profile, full) for name, profile in profiles.items()}
    return Settings(full, completed, hook_settings, on_error, fleet)


def _settings_in(path: Path, texts: dict[str, str], problems: list[str]) -> dict[str, Any]:
    text = _read(path, texts, problems) if path.exists() else ""
    try:
        return checked(text or "", str(path), _SCHEMA)
    except Invalid as problem:
        problems += problem.text.splitlines()
        return {}


def checked(text: str, file: str, schema: Path) -> dict[str, Any]:
    """The values in a YAML text that a JSON schema describes. Raises Invalid with a line for each fault."""
    documents = document.read(file, text)
    if not documents:
        return {}
    if len(documents) > 1:
        documents[1].fail("one document only")
    validator = jsonschema.Draft202012Validator(json.loads(schema.read_text()))
    errors = sorted(validator.iter_errors(documents[0].value), key=lambda error: list(map(str, error.absolute_path)))
    lines = [_explained(documents[0], error) for error in errors]
    if lines:
        raise Invalid("\n".join(lines))
    found: dict[str, Any] = documents[0].value
    return found


def _explained(root: Node, error: jsonschema.ValidationError) -> str:
    node = root
    for token in error.absolute_path:
        node = node.elements()[token] if isinstance(token, int) else node.members()[token]
    try:
        if error.validator == "additionalProperties" and isinstance(error.schema, dict):
            node.members(error.schema["properties"])
        if isinstance(error.schema, dict) and "description" in error.schema:
            node.fail(f"it must be {error.schema['description']}, not {node.value!r}")
        node.fail(error.message)
    except Invalid as problem:
        return problem.text


def _read(path: Path, texts: dict[str, str], problems: list[str]) -> str | None:
    try:
        text = compiler.read_file(path)
    except Invalid as problem:
        problems.append(problem.text)
        return None
    except OSError as error:
        problems.append(f"{path}: {reason(error)}")
        return None
    problems += filter(None, [trouble(path)])
    texts[str(path)] = text
    return text


def trouble(path: Path) -> str:
    """A line on who else can write a file or directory, "" if nobody can: who writes a policy owns the host."""
    status = path.stat()
    if status.st_uid not in (0, os.geteuid()):
        return f"{path}: it belongs to the user {status.st_uid}: `chown root {path}`"
    if status.st_mode & _OTHERS_WRITE:
        return (
            f"{path}: users other than root can write it (mode {stat.S_IMODE(status.st_mode):o}): `chmod go-w {path}`"
        )
    return ""


def demand(sources: Sources) -> None:
    """Raise Failure with all problems, if there are any."""
    if sources.problems:
        count = len(sources.problems)
        raise Failure("\n".join([*sources.problems, f"{count} problem{'s' if count > 1 else ''}; nothing was applied"]))
