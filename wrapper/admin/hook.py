"""`hookctl hook`: which hooks containers get, and running one by hand."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hookrun.hooks.entries import STAGES
from hookrun.hooks.inject import PRECREATE, Devices
from hookrun.policies import policy
from hookrun.runtime import context as contexts
from hookrun.runtime.errors import Failure
from hookrun.wrapper.admin import hook_run, host, output, store
from hookrun.wrapper.snapshot import Content

app = typer.Typer(help="See the hooks that containers get, and run one by hand.", no_args_is_help=True)


@app.command("list")
def list_hooks(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the hooks of the snapshot in force, from all sources, in the order in which they apply.

    Directories in oci-hooks(5) format are those of `hooks.directories` in config.yaml, by default hooks.d beside it
    alone. Podman's, /usr/share/containers/oci/hooks.d and /etc/containers/oci/hooks.d, count where they are listed
    there; a Podman that reads them too would run their poststop hooks a second time.
    """
    rows = in_order(store.running(host.of(context)) or {})
    if as_json:
        output.as_json(rows)
        return
    headings = ("", "STAGE", "HOOK", "WHEN", "SOURCE", "FROM")
    output.table(headings, [(number, *_cells(row)) for number, row in enumerate(rows, 1)])


def _cells(row: dict[str, Any]) -> tuple[str, str, str, str, str]:
    place = f"{row['file']}:{row['line']}" if row["line"] else row["file"]
    return row["stage"], row["path"], row["when"], row["source"], place


def in_order(content: Content) -> list[dict[str, Any]]:
    """All hooks of a snapshot: policies', CDI's, oci-add-hooks' and the directories', at last the precreate filters."""
    hooks = content.get("hooks") or {"entries": []}
    rows = [row for packed in (content.get("policies") or {"policies": ()})["policies"] for row in _of_policy(packed)]
    if "cdi" in hooks:
        rows.append(_of_devices(hooks["cdi"]))
    every = [(entry, stage) for entry in hooks["entries"] for stage in entry["stages"]]
    # False sorts before True: filters come last, else the order stays.
    return rows + [_row(entry, stage) for entry, stage in sorted(every, key=lambda pair: pair[1] == PRECREATE)]


def _of_policy(packed: Any) -> list[dict[str, Any]]:
    one = policy.unpacked(packed)
    when = "the policy matches" if one.match is not None else "always"
    when += "" if one.mode == policy.ENFORCE else f" ({one.mode}: not added)"
    return [
        {
            "stage": stage,
            "path": hook["path"],
            "when": when,
            "source": f"policy {one.name}",
            "file": one.file,
            "line": line,
        }
        for stage, hook, line in one.hooks
    ]


def _of_devices(cdi: Devices) -> dict[str, Any]:
    """Specs are read for each container anew, so that only the place to look is known."""
    when = "annotation cdi.k8s.io/*"
    if cdi["environment"]:
        when += f" or ${cdi['environment']}"
    return {
        "stage": "any",
        "path": "those of the device",
        "when": when,
        "source": "cdi",
        "file": ", ".join(cdi["directories"]),
        "line": 0,
    }


def _row(entry: dict[str, Any], stage: str) -> dict[str, Any]:
    return {
        "stage": stage,
        "path": entry["hook"]["path"],
        "when": conditions(entry["when"]),
        "source": entry["source"],
        "file": entry["file"],
        "line": entry["line"],
    }


def conditions(when: dict[str, Any] | None) -> str:
    """A hook's conditions in a few words."""
    if when is None:
        return "always"
    words = [f"{name} {str(when[name]).lower()}" for name in ("always", "hasBindMounts") if when[name] is not None]
    words += [f"annotation {key[0]}={value[0]}" for key, value in when["annotations"]]
    if when["commands"]:
        words.append("command " + " or ".join(command[0] for command in when["commands"]))
    return (" or " if when["or"] else " and ").join(words) or "never"


@app.command("run")
def run_hook(
    context: typer.Context,
    stage: Annotated[str, typer.Argument(help=f"One of {', '.join(STAGES)}.")],
    container: Annotated[str, typer.Argument(metavar="ID", help="The container's id.")],
    number: Annotated[int, typer.Option("--number", "-n", min=0, help="Which of the stage's hooks, from 1.")] = 0,
    root: Annotated[Path | None, typer.Option("--root", help="The runtime's directory of states.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Run one of a live container's hooks as its stage does, and show what it says.

    Docker's root is /run/docker/runtime-runc/moby or /var/run/docker/runtime-NAME/moby.
    """
    if stage not in STAGES:
        raise Failure(f"unknown stage {stage!r}: use one of {', '.join(STAGES)}")
    result = hook_run.run(_hookrun(host.of(context)), str(root or contexts.default_root()), container, stage, number)
    if as_json:
        output.as_json(dataclasses.asdict(result))
    else:
        typer.echo(f"{result.path}: {result.problem or 'exit status 0'} ({result.milliseconds:.1f} ms)")
        typer.echo(result.stderr, nl=False, err=True)
    if result.problem:
        raise typer.Exit(1)


def _hookrun(machine: host.Host) -> Path:
    """A launcher of this host, or the program that was installed beside this one."""
    launchers = sorted(machine.launchers.glob("*")) if machine.launchers.is_dir() else []
    return launchers[0] if launchers else Path(sys.argv[0]).absolute().with_name("hookrun")
