"""hookrun in one page: parse the command line, record the call, decide what changes, patch the bundle, run."""

from __future__ import annotations

import sys

from hookrun.runtime import log as logs
from hookrun.runtime.context import Context, default_root
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import os
from hookrun.wrapper import STATE, argv, settings, snapshot
from hookrun.wrapper.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookrun.wrapper.bundle import Bundle

_STDOUT = 1
_ENTERING = frozenset(("create", "run", "exec", "restore"))


def main(arguments: list[bytes], state: str = STATE) -> int:
    """Carry out the command line `arguments`, the program's name first, and return the exit status.

    `state` is the directory of the snapshot, the heap and the sealed program.
    """
    call = argv.parse(arguments)
    if call.answer is not None and call.answer.error:
        call = _for_other_runtime(call, state)
    if call.answer is not None and call.answer.early:
        return _show(call, call.answer, logs.Log())
    try:
        context = _context(call)
    except Failure as failure:
        # runc knows the format before it tries to open the file
        logs.Log(json=call.globals["log-format"] == "json").fatal(failure.text)
        return failure.status
    return _recorded(context, call, state)


def _for_other_runtime(call: argv.Call, state: str) -> argv.Call:
    """A command line that is wrong for runc, for a profile whose own runtime may know better."""
    content = snapshot.load(state).content
    if not settings.chosen(content, os.fsdecode(call.argv[0]), state).runtime:
        return call
    from hookrun.wrapper import foreign

    return foreign.understood(call)


def _recorded(context: Context, call: argv.Call, state: str) -> int:
    found = snapshot.load(state)
    record = Record(call, settings.chosen(found.content, os.fsdecode(call.argv[0]), state), found.notice)
    if call.answer is not None:
        status = _show(call, call.answer, context.log)
        _close(context, record, status, call.answer.error)
        return status
    error = ""
    try:
        if call.command in _ENTERING:
            _prepare(context, call, found, record)
        status = _run(context, call, record)
    except Failure as failure:
        error, status = failure.text, failure.status
    except Exception as fault:  # a fault of ours must reach the engine's log too, or nobody can tell what happened
        error, status = _fault(fault, context), 1
    if error:
        context.log.fatal(record.pointed_to(error))
    _close(context, record, status, error)
    return status


def _close(context: Context, record: Record, status: int | None, error: str) -> None:
    try:
        problem = record.close(context, status, error)
    except Exception as fault:  # the container lives or dies by its own; the record comes after
        problem = f"cannot write the record: {_fault(fault, context)}"
    if problem and record.is_wanted:
        context.log.warning(problem)


def _prepare(context: Context, call: argv.Call, found: snapshot.Snapshot, record: Record) -> None:
    """What goes before a command that enters a container: seal the interpreter, decide, patch."""
    from hookrun.wrapper import seal

    seal.ensure(found.directory)
    found.demand()
    record.require()
    if call.command == "exec":
        _judge_process(context, call, found, record)
    else:
        _patch(context, call, found, record)
    context.phase("decide")


def _patch(context: Context, call: argv.Call, found: snapshot.Snapshot, record: Record) -> None:
    """Let policies and hooks change the bundle's config. Raises Failure where one of them forbids the call."""
    from hookrun.wrapper.verdict import Verdict

    bundle = _bundle(call)
    verdict = Verdict(bundle.config)
    if (found.content is not None or call.globals["hook-config-path"]) and not bundle.is_patched:
        from hookrun.wrapper import gate

        verdict = gate.decide(call, bundle, found.content, record.engine)
    written = None
    if not verdict.denied and (verdict.config is not bundle.config or bundle.is_outdated):
        written = bundle.rewrite(verdict.config)
    record.change(bundle, verdict, written)
    if verdict.denied:
        raise Failure(verdict.denied)
    context.config = verdict.config


def _bundle(call: argv.Call) -> Bundle:
    from hookrun.wrapper import bundle

    try:
        return bundle.Bundle(call.options["bundle"])
    except Failure as failure:
        prefix = f"runc {call.command} failed: " if call.command in ("create", "run") else ""
        raise Failure(prefix + failure.text) from None


def _judge_process(context: Context, call: argv.Call, found: snapshot.Snapshot, record: Record) -> None:
    """Let policies judge and change the process that `exec` starts. Raises Failure where one of them forbids it."""
    from hookrun.wrapper import process

    process.judge(context, call, found.content or {}, record)


def _run(context: Context, call: argv.Call, record: Record) -> int:
    runtime = call.globals["runtime-path"] or record.runtime
    if runtime:
        if record.is_supervised:
            from hookrun.wrapper import supervise

            return supervise.run(runtime, call)
        from hookrun.wrapper import delegate

        _close(context, record, None, "")
        delegate.run(runtime, call)
    name = f"hookrun.runtime.commands.{call.command}"
    __import__(name)
    status: int = sys.modules[name].run(context, call.options, call.arguments)
    return status


def _fault(error: Exception, context: Context) -> str:
    if context.debug:
        import traceback

        context.log.debug(traceback.format_exc())
    return f"internal error: {type(error).__name__}: {error}"


def _show(call: argv.Call, answer: argv.Answer, log: logs.Log) -> int:
    """Print help and errors where runc prints them: help to stdout, errors to the log."""
    from hookrun.wrapper import help as helps

    text = answer.heading
    if answer.topic is not None:
        text += helps.text(answer.topic, os.fsdecode(call.argv[0]))
    if answer.version:
        text += helps.version()
    _print(text)
    if answer.error:
        log.fatal(answer.error)
    return answer.status


def _print(text: str) -> None:
    data = text.encode("utf-8", "surrogateescape")
    try:
        while data:
            data = data[os.write(_STDOUT, data) :]
    except OSError:  # nobody reads it; runc does not mind either
        pass


def _context(call: argv.Call) -> Context:
    """The global options put into effect, in runc's order: the root directory, then the log."""
    options = call.globals
    root = _root(options)
    log = logs.opened(options["log"], options["log-format"], debugging=options["debug"])
    context = Context(
        root,
        log,
        systemd_cgroup=options["systemd-cgroup"],
        rootless=options["rootless"],
        criu=options["criu"],
        debug=options["debug"],
    )
    context.given = call.given
    return context


def _root(options: dict[str, Any]) -> str:
    if options["root"]:
        root: str = os.path.abspath(options["root"])
        if root == "/":
            raise Failure("Option --root argument should not be set to /")
        return root
    root = default_root()
    if root.startswith("/run/hookrun"):
        return root
    try:
        os.makedirs(root, 0o700, exist_ok=True)
        os.chmod(root, 0o1700)  # sticky, or what cleans $XDG_RUNTIME_DIR may take it (XDG base directory specification)
    except OSError as error:
        raise Failure(
            f"mkdir {root}: {reason(error)}: the path in $XDG_RUNTIME_DIR must be writable by the user"
        ) from None
    return root
