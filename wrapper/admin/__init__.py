"""hookctl, the tool of the host's operators; one module for each group of commands."""

from hookrun.wrapper.admin import old_typer

old_typer.teach()
