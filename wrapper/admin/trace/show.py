"""One call for people: `hookctl trace show`."""

from __future__ import annotations

import itertools
import os
import shlex
import signal
from collections.abc import Iterator
from typing import Any

from hookrun.wrapper.admin.output import harmless
from hookrun.wrapper.admin.trace import diff as trace_diff
from hookrun.wrapper.admin.trace.index import Effect, effect_of, is_failed
from hookrun.wrapper.cli import grammar
from hookrun.wrapper.record.line import Decision, HookResult, InjectedHook, Line

_WIDTH = 40
# In their order (runtime/process/creation.py, runtime/process/execution.py).
_MAKING = ("decide", "check", "cgroups", "plan", "clone", "init", "finish")
_PHASES = {"create": _MAKING, "run": _MAKING, "exec": ("decide", "plan", "clone", "entry")}
_OF_HOOKS = "init"
_GIVING_STATUS = ("run", "exec")
_BY_SIGNAL = 128
_SIGNALS = {int(one): one.name for one in signal.Signals}
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "'": "\\'", "\\": "\\\\"}


def shell_line(words: list[str]) -> str:
    """A command line to paste into a shell: bash, zsh and ksh read it back to the byte."""
    return " ".join(map(_shell_word, words))


def _shell_word(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(map(_shell_character, word)) + "'"


def _shell_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    # Octal takes three digits at most, where \x would go on into the digits that follow.
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))


def describe(call: Line, name: str = "", end: Line | None = None) -> Iterator[str]:
    """The lines about a call: why it failed comes first, what is long and seldom wanted last.

    `name` is what the engine calls the container, `end` the call that deleted it.
    """
    yield from _facts(_cause(call, end or call))
    yield from _facts(_head(call, name))
    yield from decided(call["decisions"], call["hooks"])
    yield from _section("Hooks that ran", _ran(call["hook_results"]))
    yield from _section("CRIU", _statistics(call.get("criu") or {}))
    yield from _section("Phases", _phases(call))
    yield from _section("Config", _config(call))
    yield from _section("Called by", _callers(call))
    yield from _section("Command line", [shell_line(call["argv"])])
    yield from _section("Flags", _flags(call))


def decided(decisions: list[Decision], hooks: list[InjectedHook]) -> Iterator[str]:
    """The lines about what policies and hooks decided."""
    yield from _section("Decisions", _decisions(decisions))
    yield from _section("Hooks put in", _injected(hooks))


def outcome(call: Line) -> str:
    """How a call ended, in a word or two."""
    if call["status"] is None:
        return f"went on as {call['delegate'] or 'another runtime'}"
    return f"exit status {call['status']}{_signal(call['command'], call['status'])}"


def _signal(command: str, status: int) -> str:
    """The signal that an exit status of `run` or `exec` stands for; a process may also choose such a status itself."""
    number = status - _BY_SIGNAL
    if command not in _GIVING_STATUS or number not in _SIGNALS:
        return ""
    return f" ({_BY_SIGNAL} + {number}, {_SIGNALS[number]})"


def harm(call: Line) -> str:
    """What the kernel had done to a container until this call deleted it, "" for nothing."""
    found = call.get("harm") or {}
    said = []
    if kills := found.get("oom_kills"):
        limit = found["memory_limit"]
        many = f", {kills} times" if kills > 1 else ""
        said.append(f"killed by the kernel: out of memory ({_limit(_bytes(limit) if limit else '')}){many}")
    if refused := found.get("forks_refused"):
        limit = found["pids_limit"]
        said.append(f"{refused} forks refused by the kernel: too many processes ({_limit(str(limit or ''))})")
    return "; ".join(said)


def _limit(text: str) -> str:
    return f"limit {text}" if text else "no limit of its own"


def _bytes(number: int) -> str:
    """A size in the largest unit that it is a whole number of: 50 MiB."""
    power = next(power for power in (4, 3, 2, 1, 0) if not number % 1024**power)
    return f"{number // 1024**power} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def _cause(call: Line, end: Line) -> dict[str, str]:
    """What a call that failed says of it, and where it was then; and what ended the container it made."""
    ended = harm(end)
    cause = {"ended": f"{ended}; deleted by call {end['id']}" if ended and end is not call else ended}
    if not is_failed(call):
        return cause
    place = _failing_phase(call)
    reasons = [f"policy {one['policy']} denied it" for one in call["decisions"] if effect_of(one) is Effect.denied]
    reasons += [f"hook {_hook(hook)}" for hook in call["hook_results"][-1:] if hook["status"] != 0]
    return {**cause, "error": call["error"], "failed in": ", ".join([place, *reasons] if place else reasons)}


def _failing_phase(call: Line) -> str:
    """The phase that a failed call was in, for a phase is noted at its end; "" where that is not known."""
    delegate: str = call["delegate"]
    if call["phases"] and delegate:
        return os.path.basename(delegate)
    order = ("", *_PHASES.get(call["command"], ()))
    last: str = call["phases"][-1][0] if call["phases"] else ""
    return dict(itertools.pairwise(order)).get(last, "")


def _head(call: Line, name: str) -> dict[str, Any]:
    runtime = f"{call['runtime']['name']} {call['runtime']['version']}"
    return {
        "call": call["id"],
        "command": call["command"],
        "name": name,
        "container": call["container"],
        "time": f"{call['time']}, took {call['milliseconds']} ms",
        "result": outcome(call),
        "engine": call["engine"],
        "runtime": runtime + (f", profile {call['profile']}" if call["profile"] else ""),
        "run by": call["delegate"],
        "bundle": call["bundle"],
        "pid": call["pid"],
    }


def _facts(facts: dict[str, Any]) -> Iterator[str]:
    for name, value in facts.items():
        if value not in ("", None):
            yield f"{name:<10} {harmless(str(value))}"


def _section(title: str, lines: Any) -> Iterator[str]:
    found = list(lines)
    if found:
        yield ""
        yield title
        yield from (f"  {line}" for line in found)


def _flags(call: Line) -> Iterator[str]:
    command = grammar.command(call["command"])
    for flags, given in ((grammar.GLOBALS, call["globals"]), (command.flags if command else (), call["options"])):
        usages = {flag.name: flag.usage for flag in flags}
        for name, value in given.items():
            for one in value if isinstance(value, list) else [value]:
                word = f"--{name}" if one is True else f"--{name} {one}"
                yield from _explained(word, usages.get(name, ""))
    for word in call["arguments"]:
        yield from _explained(word, "argument")


def _explained(word: str, meaning: str) -> Iterator[str]:
    shown = harmless(word)
    if len(shown) <= _WIDTH:
        yield f"{shown:<{_WIDTH}}  {meaning}".rstrip()
    else:
        yield shown
        yield f"{'':<{_WIDTH}}  {meaning}".rstrip()


def _callers(call: Line) -> Iterator[str]:
    for process in (call["caller"], call["caller"].get("above")):
        if process:
            yield harmless(f"{process['pid']:>7} {process['exe'] or '(its executable is not known)'}")
            if process["cmdline"]:
                yield f"        {shell_line(process['cmdline'])}"


def _decisions(decisions: list[Decision]) -> Iterator[str]:
    for decision in decisions:
        message = f": {decision['message']}" if decision["message"] else ""
        yield harmless(f"{decision['policy']} ({decision['mode']}) {decision['action']}{message}")
        yield harmless(f"    {decision['ms']} ms, {decision['file']}:{decision['line']}")


def _injected(hooks: list[InjectedHook]) -> Iterator[str]:
    for hook in hooks:
        # A policy's hook has its file for a source; others have the kind of source, and the file.
        source = f"policy {hook['policy']}" if "policy" in hook else hook["source"]
        place = hook["source"] if "policy" in hook else hook["file"]
        yield harmless(f"{hook['stage']}: {hook['path']}, from {source}, {place}:{hook['line']}")


def _ran(results: list[HookResult]) -> Iterator[str]:
    for hook in results:
        yield harmless(_hook(hook))
        yield from (f"    {harmless(line)}" for line in hook["stderr"].splitlines())


def _statistics(statistics: dict[str, int]) -> Iterator[str]:
    for name, number in statistics.items():
        what, microseconds, _ = name.partition("_us")
        yield f"{what.replace('_', ' '):14} {number / 1000:10.3f} ms" if microseconds else f"{name:14} {number:10}"


def _hook(hook: HookResult) -> str:
    ended = "did not end" if hook["status"] is None else f"exit status {hook['status']}"
    return f"{hook['stage']} #{hook['index']}: {hook['path']}, {hook['ms']} ms, {ended}"


def _config(call: Line) -> Iterator[str]:
    config = call["config"]
    if config:
        yield f"before  {config['before']}"
        if config["after"] == config["before"]:
            yield "nothing was changed"
        else:
            yield f"after   {config['after']}"
            yield f"{len(config['patch'])} changes: hookctl trace diff {call['id']}"
            yield from (f"  {harmless(line)}" for line in trace_diff.in_brief(config["patch"]))


def _phases(call: Line) -> Iterator[str]:
    """Each phase in milliseconds with its share as a bar, and under it the hooks that ran in it.

    What no phase accounts for went into the one that failed, else into `other`.
    """
    phases = [*call["phases"]]
    failing = _failing_phase(call) if is_failed(call) else ""
    rest = round(call["milliseconds"] - sum(milliseconds for _, milliseconds in phases), 3)
    if failing or (phases and rest > 0):
        phases.append((failing or "other", max(rest, 0.0)))
    longest = max((milliseconds for _, milliseconds in phases), default=0) or 1
    for number, (name, milliseconds) in enumerate(phases, 1):
        mark = "  <- failed here" if failing and number == len(phases) else ""
        bar = "█" * round(_WIDTH * milliseconds / longest)
        yield f"{harmless(name):<10} {milliseconds:>9.3f} ms  {bar}{mark}".rstrip()
        if name == _OF_HOOKS:
            for hook in call["hook_results"]:
                yield harmless(f"{'':<10} {hook['ms']:>9.3f} ms  of these: {hook['stage']} #{hook['index']}")
