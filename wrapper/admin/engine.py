"""`hookctl engine`: registering hookrun with container engines."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer
from loguru import logger

from hookrun.runtime.errors import Failure
from hookrun.wrapper.admin import docker, files, host, launcher

app = typer.Typer(help="Register hookrun with container engines.", no_args_is_help=True)
register_app = typer.Typer(help="Have an engine know hookrun as a runtime.", no_args_is_help=True)
unregister_app = typer.Typer(help="Take hookrun away from an engine.", no_args_is_help=True)
app.add_typer(register_app, name="register")
app.add_typer(unregister_app, name="unregister")

Name = Annotated[str, typer.Option("--name", help="The runtime's name, which chooses its profile too.")]
DaemonFile = Annotated[Path, typer.Option("--daemon-json", help="Docker's configuration.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the change, make none.")]


@register_app.command("docker")
def register_docker(
    context: typer.Context,
    name: Name = "hookrun",
    default: Annotated[bool, typer.Option("--default", help="Make it what containers run with.")] = False,
    daemon_json: DaemonFile = docker.CONFIG,
    dry_run: DryRun = False,
) -> None:
    """Add hookrun to daemon.json."""
    launcher.check_name(name)
    if name == "runc":
        raise Failure("the name runc is Docker's own: choose another by --name")
    state = host.of(context).state
    config = docker.DaemonConfig(daemon_json)
    config.add_runtime(name, launcher.path_of(state, name), default)
    if not dry_run:
        launcher.install(state, name)
    _write(config, dry_run)


@unregister_app.command("docker")
def unregister_docker(
    context: typer.Context,
    name: Name = "hookrun",
    daemon_json: DaemonFile = docker.CONFIG,
    dry_run: DryRun = False,
) -> None:
    """Remove hookrun from daemon.json."""
    launcher.check_name(name)
    config = docker.DaemonConfig(daemon_json)
    config.remove_runtime(name)
    _write(config, dry_run)
    if not dry_run:
        launcher.remove(host.of(context).state, name)


def _write(config: docker.DaemonConfig, dry_run: bool) -> None:
    """Put a changed daemon.json in place, a copy of the old one beside it, and say what is to be done next."""
    after = config.after
    if after == config.before:
        typer.echo(f"{config.path}: nothing to change")
        return
    if dry_run:
        names = (str(config.path), f"{config.path} (new)")
        lines = difflib.unified_diff(config.before.splitlines(True), after.splitlines(True), *names)
        typer.echo("".join(lines), nl=False)
        return
    copy = files.back_up(config.path)
    if copy is not None:
        logger.info("the file before is kept as {}", copy)
    if after:
        files.replace(config.path, after)
    else:
        config.path.unlink()
    typer.echo(f"{config.path}: written")
    typer.echo("Have Docker read it: kill -HUP its process, or `systemctl reload docker`.")
