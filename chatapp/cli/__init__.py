"""`python -m chatapp <command>`. A command's module is imported only when it is asked for."""

import importlib

import click

from config.settings import SettingsError

COMMANDS = ("actions", "cache", "chat", "config", "dev", "dlq", "provision", "queue", "sessions", "token")
"""Each is the function of that name in the module of that name."""


class LazyGroup(click.Group):
    """Commands by name, imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Name all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Import one command; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"{__name__}.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101  for the type checker: see COMMANDS
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; wrong settings are the user's to mend, so they get the list and no traceback."""
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=LazyGroup)
def cli() -> None:
    """An asynchronous chat backend for language models."""
