"""`hookctl bundle`: one version of a fleet's policies, checked and packed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from hookrun.policies import compiler
from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper.admin import apply, output
from hookrun.wrapper.admin.fleet import bundle
from hookrun.wrapper.admin.sources import Sources

app = typer.Typer(help="Check and pack a fleet's policies, hooks and settings.", no_args_is_help=True)


@app.command("build")
def build(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The bundle's directory, with a bundle.yaml.")],
    to: Annotated[Path | None, typer.Option("--output", "-o", help="The archive, or the directory for it.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Lint, test and compile a bundle, and pack it: the same files make the same archive, byte for byte."""
    manifest = bundle.manifest(directory)
    compiler.plan(bundle.examined(directory).policies)
    data = bundle.pack(directory)
    path = to or Path(manifest.file_name)
    path = path / manifest.file_name if path.is_dir() else path
    try:
        path.write_bytes(data)
    except OSError as error:
        raise Failure(f"cannot write {path}: {reason(error)}") from None
    if as_json:
        output.as_json({**bundle.told(manifest, data), "file": str(path)})
    else:
        typer.echo(f"{path}: {manifest.name} {manifest.version}, {len(data)} bytes, SHA-256 {bundle.digest(data)}")


@app.command("diff")
def diff(
    before: Annotated[Path, typer.Argument(metavar="A", help="A bundle's directory or archive.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another.")],
    as_json: output.AsJson = False,
) -> None:
    """Say what changes between two bundles: policy by policy, then the lines of the files."""
    with tempfile.TemporaryDirectory(prefix="hookctl-") as place:
        old, new = (_examined(path, Path(place) / str(number)) for number, path in enumerate((before, after)))
    found = apply.difference(old, new)
    said = "\n".join(found.lines()) or "they are the same"
    output.tell(said, {"changed": bool(found), **found.values()}, in_json=as_json)


def _examined(path: Path, place: Path) -> Sources:
    directory = path
    if not path.is_dir():
        bundle.unpack(bundle.read_archive(path), place, str(path))
        directory = place
    bundle.manifest(directory)
    found = bundle.examined(directory)
    found.texts = {
        str(file.relative_to(directory)): file.read_text(errors="replace") for file in bundle.files(directory)
    }
    return found
