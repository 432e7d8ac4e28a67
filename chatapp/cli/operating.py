"""What the operator's commands share: the services they work with, and how they show what others have written."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from chatapp.dev import join
from chatapp.errors import Unavailable
from chatapp.services import Services, build
from config.resources import CHAT, QUEUES
from config.settings import LOOPBACK

queue_option = click.option(
    "--queue", type=click.Choice([q.name for q in QUEUES]), default=CHAT.name, show_default=True, help="The queue that is meant."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, a line each.")


@contextmanager
def services() -> Iterator[Services]:
    """Make the services of a command. What is away ends it with exit code 1 and one line."""
    made = build(join.settings())
    try:
        yield made
    except Unavailable as error:
        here = any(host in (made.settings.aws_endpoint or "") for host in LOOPBACK)
        hint = f". Is `make run` running? It is looked for at {made.settings.aws_endpoint}" if here else ""
        raise click.ClickException(error.detail + hint) from error


def inert(text: str) -> str:
    """Escape what a terminal would obey, or would not show: a message must not move the cursor or turn text around."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def age(ms: int) -> str:
    """Say a duration in its largest whole unit, e.g. `35s`, `12m`, `3h`, `2d`."""
    seconds = max(0, ms) // 1000
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Lay out rows in columns, a line each."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, *rows]:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
