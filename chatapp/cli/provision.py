"""`provision`: queues, tables, indexes and expiry, created or verified."""

import sys

import click
from botocore.exceptions import ClientError

from chatapp.aws import NO_ANSWER
from chatapp.provision import Provisioner
from config.settings import load


@click.command()
@click.option("--check", is_flag=True, help="Only verify; change nothing. Exits 1 if something is missing or wrong.")
def provision(*, check: bool) -> None:
    """Create or verify the queues and tables. Safe to run again at any time."""
    try:
        provisioner = Provisioner(load())
        if not check:
            for line in provisioner.apply():
                click.echo(line)
        problems = provisioner.problems()
    except (ClientError, *NO_ANSWER) as error:
        raise click.ClickException(f"AWS cannot be asked: {error}") from error
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        sys.exit(1)
    click.echo("queues and tables are as they should be")
