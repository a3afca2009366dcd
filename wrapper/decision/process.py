"""The process that `exec` starts, judged by the same policies as a container: as /process of the container's config."""

from __future__ import annotations

import os
from typing import Any

from hookrun.runtime.container import container as containers
from hookrun.runtime.context import Context
from hookrun.runtime.errors import Failure
from hookrun.runtime.process import exec_process
from hookrun.runtime.spec import process as processes
from hookrun.wrapper.cli.argv import Call
from hookrun.wrapper.decision import policing
from hookrun.wrapper.decision.invocation import Invocation
from hookrun.wrapper.patch import bundle
from hookrun.wrapper.record.record import Record
from hookrun.wrapper.runtimes import delegate

_FAILED = 255  # exec's own exit status


def decide(context: Context, invocation: Invocation, record: Record) -> None:
    """Read the process, for the record and the policies; leave in `context.process` what is to run.

    Policies see the container's config with this process in it, and change the process alone. Raises Failure, with
    exec's status, where one of them forbids it or it can't be read.
    """
    call = invocation.call
    is_policed = invocation.snapshot.has_policies
    if not is_policed and not call.options["process"]:
        return
    is_delegated = bool(invocation.other_runtime)
    try:
        config = container_config(context, call, is_delegated) if is_policed else {}
        process = _process(call, config, is_delegated and is_policed)
    except Failure as failure:
        if is_policed:  # what was not judged is not run: neither by the other runtime nor at a second reading
            raise Failure(f"exec failed: {failure.text}", _FAILED) from None
        return
    context.process = process
    if not is_policed:
        return
    context.is_process_judged = True
    invocation.engine = record.confirm(config or None)
    outcome = policing.judged({**config, "process": process}, invocation)
    outcome.hooks = []
    record.decided(outcome, invocation.found())
    if outcome.denied:
        raise Failure(f"exec failed: {outcome.denied}", _FAILED)
    if outcome.config["process"] == process:
        return
    if is_delegated:
        changers = [entry["policy"] for entry in outcome.decisions if entry["action"] in ("patched", "hooked")]
        raise Failure(
            f"exec failed: policy {', '.join(changers)} changes the process, which another runtime would not see: "
            f"let it match the commands create and run alone",
            _FAILED,
        )
    context.process = outcome.config["process"]


def _process(call: Call, config: dict[str, Any], is_for_another: bool) -> dict[str, Any]:
    own = config.get("process") or {}
    if not call.options["process"]:
        process = exec_process.process_from_flags(own, call.options, call.given, call.arguments[1:])
    else:
        if is_for_another:
            delegate.demand_own(os.path.abspath(call.options["process"]))
        process = exec_process.completed(exec_process.process_from_file(call.options["process"], is_for_another), own)
    if is_for_another:
        processes.check_ids(process.get("user") or {})
    return process


def container_config(context: Context, call: Call, is_delegated: bool) -> dict[str, Any]:
    """The config that the container runs with. Raises Failure.

    Another runtime keeps it in the bundle alone; where its state does not say where that is, it is {}.
    """
    if is_delegated:
        directory = bundle.of_container(context.root, call.container, may_live=True)
        try:
            return bundle.Bundle(directory).config if directory else {}
        except Failure:
            return {}
    return containers.load(context.root, call.container).config
