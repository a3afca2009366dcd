"""hookrun in one page: parse the command line, record the call, decide what changes, patch the bundle, run."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

from hookrun.policies.decide import Outcome
from hookrun.runtime import log as logs
from hookrun.runtime.context import Context, default_root
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import files, imports
from hookrun.wrapper import STATE, settings, snapshot
from hookrun.wrapper.cli import argv, foreign
from hookrun.wrapper.cli import help as helps
from hookrun.wrapper.decision import gate, policing, process, update
from hookrun.wrapper.decision.invocation import Invocation, of_call
from hookrun.wrapper.patch import bundle
from hookrun.wrapper.patch.bundle import Bundle
from hookrun.wrapper.record.record import Record
from hookrun.wrapper.runtimes import delegate, supervise
from hookrun.wrapper.start import cold, seal

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
    return _recorded(context, of_call(call, snapshot.load(state)))


def _for_other_runtime(call: argv.Call, state: str) -> argv.Call:
    """A command line that is wrong for runc, for a profile whose own runtime may know better."""
    own = of_call(call, snapshot.load(state)).settings.runtime
    return foreign.understood(call) if own else call


def _recorded(context: Context, invocation: Invocation) -> int:
    record = Record(invocation.call, invocation.settings, invocation.snapshot.notice)
    answer = invocation.call.answer
    if answer is not None:
        status = _show(invocation.call, answer, context.log)
        _close(context, record, status, answer.error)
        return status
    error = ""
    rewritten = ""
    try:
        rewritten = _prepare(context, invocation, record)
        status = _run(context, invocation, record)
    except Failure as failure:
        error, status = failure.text, failure.status
    except Exception as fault:  # a fault of ours must reach the engine's log too, or nobody can tell what happened
        error, status = _fault(fault, context), 1
    if rewritten and (error or _ends_with_the_call(invocation.call)):
        _restore(rewritten, invocation)
    if error:
        context.log.fatal(record.pointed_to(error))
    _close(context, record, status, error)
    return status


def _ends_with_the_call(call: argv.Call) -> bool:
    """Whether the container is gone when hookrun is done."""
    return call.command == "run" and not (call.options["detach"] or call.options["keep"])


def _close(context: Context, record: Record, status: int | None, error: str) -> None:
    try:
        problem = record.close(context, status, error)
    except Exception as fault:  # the container lives or dies by its own; the record comes after
        problem = f"cannot write the record: {_fault(fault, context)}"
    if problem and record.is_wanted:
        context.log.warning(problem)


def _prepare(context: Context, invocation: Invocation, record: Record) -> str:
    """What goes before a command that enters a container, or changes one: seal the program, decide, patch.

    Returns the bundle whose config was rewritten, "" where none was. Raises Failure where a policy forbids the call.
    """
    command = invocation.call.command
    if command == _UPDATE:
        invocation.snapshot.demand()
        update.decide(context, invocation, record)
    if command not in _ENTERING:
        return ""
    seal.ensure(invocation.snapshot.directory)
    invocation.snapshot.demand()
    record.require()
    rewritten = ""
    if command == "exec":
        process.decide(context, invocation, record)
    else:
        rewritten = _patch(context, invocation, record)
    context.phase("decide")
    return rewritten


def _patch(context: Context, invocation: Invocation, record: Record) -> str:
    """Let policies and hooks change the bundle's config; returns the bundle if they did.

    Another runtime gets the very config that was judged. Raises Failure where a policy forbids the call.
    """
    is_judged_for_another = invocation.snapshot.has_policies and bool(invocation.other_runtime)
    found = invocation.bundle = _bundle(invocation)
    if is_judged_for_another:
        delegate.demand_own(f"{invocation.directory}/{bundle.CONFIG}")
        delegate.check_form(found.config)
    outcome = Outcome(found.config)
    if invocation.has_rules and not found.is_patched:
        invocation.engine = record.confirm(found.config)
        outcome = gate.decide(found.config, invocation)
        if (is_judged_for_another or invocation.call.command == _BY_CRIU) and not outcome.denied:
            policing.demand_settled(invocation.judged)
    record.decided(outcome, invocation.found())
    is_changed = outcome.config is not found.config or found.is_outdated
    written = None
    if not outcome.denied and (is_changed or (is_judged_for_another and not found.is_patched)):
        written = found.rewrite(outcome.config)
    record.changed(found, outcome.config, written)
    if outcome.denied:
        raise Failure(outcome.denied)
    context.config = outcome.config
    context.judged = invocation.judged
    return invocation.directory if written is not None else ""


def _bundle(invocation: Invocation) -> Bundle:
    try:
        return Bundle(invocation.call.options["bundle"], settings.notes_directory(invocation.snapshot.directory))
    except Failure as failure:
        command = invocation.call.command
        prefix = f"runc {command} failed: " if command in ("create", "run") else ""
        raise Failure(prefix + failure.text) from None


def _restore(directory: str, invocation: Invocation) -> None:
    bundle.restore(directory, settings.notes_directory(invocation.snapshot.directory))


def _bundle_to_leave(context: Context, invocation: Invocation) -> str:
    """The bundle of a container that is to be deleted, if any bundle was rewritten on this host; else ""."""
    call = invocation.call
    if call.command != "delete" or not os.path.isdir(settings.notes_directory(invocation.snapshot.directory)):
        return ""
    return bundle.of_container(context.root, call.container, may_live=call.options["force"])


def _run(context: Context, invocation: Invocation, record: Record) -> int:
    """Have the command carried out, by the core or by the runtime that is named in its place."""
    left = _bundle_to_leave(context, invocation)
    if invocation.other_runtime:
        return _run_other(context, invocation, record, left)
    name = f"hookrun.runtime.commands.{invocation.call.command}"
    __import__(name)
    status: int = sys.modules[name].run(context, invocation.call.options, invocation.call.arguments)
    if left:
        _restore(left, invocation)
    return status


def _run_other(context: Context, invocation: Invocation, record: Record, left: str) -> int:
    call = invocation.call if context.resources is None else update.handed_over(invocation.call, context.resources)
    if invocation.settings.is_supervised:
        status = supervise.run(invocation.other_runtime, call)
        if left and not status:
            _restore(left, invocation)
        return status
    if left:
        _restore(left, invocation)
    _close(context, record, None, "")
    delegate.run(invocation.other_runtime, call)


def _fault(error: Exception, context: Context) -> str:
    if context.debug and not imports.are_closed():  # a traceback looks for our sources, which are not the container's
        context.log.debug(traceback.format_exc())
    return f"internal error: {type(error).__name__}: {error}"


def _show(call: argv.Call, answer: argv.Answer, log: logs.Log) -> int:
    """Print help and errors where runc prints them: help to stdout, errors to the log."""
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
