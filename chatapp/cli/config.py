"""`config`: the effective settings, redacted."""

import click
from pydantic import SecretStr

from config.settings import Settings, load, variable_of


@click.command()
def config() -> None:
    """Show the effective settings. Secrets are never printed."""
    settings = load()
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = "(set)"
        elif isinstance(value, tuple):
            value = ",".join(map(str, value))
        click.echo(f"{variable_of(name)}={'' if value is None else value}")
