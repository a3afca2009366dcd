"""hookctl's command line: one group of commands a module."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from loguru import logger

from hookrun.runtime.errors import Failure
from hookrun.wrapper import VERSION
from hookrun.wrapper.admin import apply, bundle, doctor, engine, hook, metrics, policy, report
from hookrun.wrapper.admin.fleet import app as fleet
from hookrun.wrapper.admin.host import CONFIG, STATE, Host
from hookrun.wrapper.admin.trace import app as trace

app = typer.Typer(
    name="hookctl",
    help="Register hookrun with container engines, write and try policies, and see what the engines really asked for.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(engine.app, name="engine")
app.add_typer(hook.app, name="hook")
app.add_typer(policy.app, name="policy")
apply.add_to(app)
app.add_typer(trace.app, name="trace")
app.add_typer(bundle.app, name="bundle")
app.add_typer(fleet.app, name="fleet")
app.command()(report.report)
app.command()(metrics.metrics)
app.command()(doctor.doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hookctl version {VERSION}")
        raise typer.Exit


@app.callback()
def choose_host(
    context: typer.Context,
    config: Annotated[
        Path, typer.Option(envvar="HOOKCTL_CONFIG", help="Directory of config.yaml, policies.d and hooks.d.")
    ] = CONFIG,
    state: Annotated[
        Path, typer.Option(envvar="HOOKCTL_STATE", help="Directory of the snapshot and of the launchers.")
    ] = STATE,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say what is done; twice for more.")] = 0,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log as JSON, a line each.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options that all commands share."""
    _log_to_stderr(verbose, log_json)
    context.obj = Host(config.absolute(), state.absolute())


def _log_to_stderr(verbose: int, as_json: bool) -> None:
    level = ("WARNING", "INFO", "DEBUG")[min(verbose, 2)]
    logger.remove()
    logger.add(sys.stderr, level=level, serialize=as_json, format="{level: <7} {message}", colorize=None)


def main() -> int:
    """Run hookctl; returns the exit status, 1 where something failed, 2 where the command line is wrong."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a locale has no letter for
    try:
        app()
    except Failure as failure:
        print(f"hookctl: {failure.text}", file=sys.stderr)
        return failure.status
    except BrokenPipeError:
        # Whoever read the output has enough: `hookctl trace list | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0
