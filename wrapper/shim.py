"""hookrun in one page: parse the command line, record the call, decide what changes, patch the bundle, run."""

from __future__ import annotations

import os
import sys
from typing import Any

from hookrun.runtime import log as logs
from hookrun.runtime.context import Context, default_root
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import files
from hookrun.wrapper import STATE, argv, cold, settings, snapshot
from hookrun.wrapper.bundle import Bundle
from hookrun.wrapper.record import Record

_STDOUT = 1
_ENTERING = frozenset(("create", "run", "exec", "restore"))
_UPDATE = "update"
_BY_CRIU = "restore"  # which opens the sources of mounts by their paths, as another runtime does


def main(arguments: list[bytes], state: str = STATE) -> int:
    """Carry out the command line `arguments`, the program's name first, and return the exit status.

    `state` is the directory of the snapshot, the heap and the sealed program.
    """
    call = argv.parse(arguments)
    if call.answer is not None and call.answer.error:
        call = _for_other_runtime(call, state)
    if call.answer is not None and call.answer.early:
        return _show(call, call.answer, logs.Log())
    if call.answer is None:
        cold.start_again_without(f"hookrun.runtime.commands.{call.command}")
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
    rewritten = ""
    try:
        if call.command in _ENTERING:
            rewritten = _prepare(context, call, found, record)
        elif call.command == _UPDATE:
            _judge_resources(context, call, found, record)
        status = _run(context, call, record, state)
    except Failure as failure:
        error, status = failure.text, failure.status
    except Exception as fault:  # a fault of ours must reach the engine's log too, or nobody can tell what happened
        error, status = _fault(fault, context), 1
    if rewritten and (error or (call.command == "run" and not (call.options["detach"] or call.options["keep"]))):
        _restore(rewritten, state)
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


def _prepare(context: Context, call: argv.Call, found: snapshot.Snapshot, record: Record) -> str:
    """What goes before a command that enters a container: seal the interpreter, decide, patch.

    Returns the bundle whose config was rewritten, "" where none was.
    """
    from hookrun.wrapper import seal

    seal.ensure(found.directory)
    found.demand()
    record.require()
    rewritten = ""
    if call.command == "exec":
        _judge_process(context, call, found, record)
    else:
        rewritten = _patch(context, call, found, record)
    context.phase("decide")
    return rewritten


def _patch(context: Context, call: argv.Call, found: snapshot.Snapshot, record: Record) -> str:
    """Let policies and hooks change the bundle's config; returns the bundle if it did.

    Another runtime gets the very config that was judged. Raises Failure where a policy forbids the call.
    """
    from hookrun.wrapper.verdict import Verdict

    is_judged_for_another = found.has_policies and bool(_other_runtime(call, record))
    bundle = _bundle(call, found.directory)
    if is_judged_for_another:
        from hookrun.wrapper import delegate

        delegate.demand_own(f"{os.path.abspath(bundle.directory)}/config.json")
        delegate.check_form(bundle.config)
    verdict = Verdict(bundle.config)
    if (found.content is not None or call.globals["hook-config-path"]) and not bundle.is_patched:
        from hookrun.wrapper import gate

        verdict = gate.decide(call, bundle, found.content, record.confirm(bundle.config))
        if (is_judged_for_another or call.command == _BY_CRIU) and not verdict.denied:
            gate.demand_settled(verdict)
    written = None
    is_changed = verdict.config is not bundle.config or bundle.is_outdated
    if not verdict.denied and (is_changed or (is_judged_for_another and not bundle.is_patched)):
        written = bundle.rewrite(verdict.config)
    record.change(bundle, verdict, written)
    if verdict.denied:
        raise Failure(verdict.denied)
    context.config = verdict.config
    context.judged = verdict.judged
    return os.path.abspath(bundle.directory) if written is not None else ""


def _bundle(call: argv.Call, state: str) -> Bundle:
    from hookrun.wrapper import bundle

    try:
        return bundle.Bundle(call.options["bundle"], settings.notes_directory(state))
    except Failure as failure:
        prefix = f"runc {call.command} failed: " if call.command in ("create", "run") else ""
        raise Failure(prefix + failure.text) from None


def _judge_process(context: Context, call: argv.Call, found: snapshot.Snapshot, record: Record) -> None:
    """Let policies judge and change the process that `exec` starts. Raises Failure where one of them forbids it."""
    from hookrun.wrapper import process

    process.judge(context, call, found.content or {}, record)


def _judge_resources(context: Context, call: argv.Call, found: snapshot.Snapshot, record: Record) -> None:
    """Let policies judge and change the limits that `update` sets. Raises Failure where one of them forbids it."""
    found.demand()
    if found.content is not None:
        from hookrun.wrapper import update

        update.judge(context, call, found.content, record)


def _restore(bundle: str, state: str) -> None:
    from hookrun.wrapper import bundle as bundles

    bundles.restore(bundle, settings.notes_directory(state))


def _bundle_to_leave(context: Context, call: argv.Call, state: str) -> str:
    """The bundle of a container that is to be deleted, if any bundle was rewritten on this host; else ""."""
    if call.command != "delete" or not os.path.isdir(settings.notes_directory(state)):
        return ""
    from hookrun.wrapper import bundle

    return bundle.of_container(context.root, call.container, may_live=call.options["force"])


def _other_runtime(call: argv.Call, record: Record) -> str:
    """The runtime that the command line or the settings name in place of hookrun's own core, or ""."""
    named: str = call.globals["runtime-path"] or record.runtime
    return named


def _run(context: Context, call: argv.Call, record: Record, state: str) -> int:
    runtime = _other_runtime(call, record)
    left = _bundle_to_leave(context, call, state)
    if runtime:
        if not record.is_supervised:
            if left:
                _restore(left, state)
            _close(context, record, None, "")
        if context.resources is not None:
            from hookrun.wrapper import update

            call = update.handed_over(call, context.resources)
        if record.is_supervised:
            from hookrun.wrapper import supervise

            ended = supervise.run(runtime, call)
            if left and not ended:
                _restore(left, state)
            return ended
        from hookrun.wrapper import delegate

        delegate.run(runtime, call)
    name = f"hookrun.runtime.commands.{call.command}"
    __import__(name)
    status: int = sys.modules[name].run(context, call.options, call.arguments)
    if left:
        _restore(left, state)
    return status


def _fault(error: Exception, context: Context) -> str:
    if context.debug:
        from hookrun.runtime.linux import imports

        if not imports.are_closed():
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
        files.make_directories(root, 0o700)
        os.chmod(root, 0o1700)  # sticky, or what cleans $XDG_RUNTIME_DIR may take it (XDG base directory specification)
    except OSError as error:
        raise Failure(
            f"mkdir {root}: {reason(error)}: the path in $XDG_RUNTIME_DIR must be writable by the user"
        ) from None
    return root
