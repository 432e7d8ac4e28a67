"""`sessions`: who has which, how many there are, and away with those whose time is over."""

import json

import click

from chatapp.cli.operating import age, inert, json_option, services, table
from chatapp.model import Session, timestamp

PAGE = 100


@click.group()
def sessions() -> None:
    """Look at the sessions, and delete those whose time in the table is over."""


@sessions.command("list")
@click.argument("user_id")
@click.option("--limit", default=PAGE, show_default=True, type=click.IntRange(1), help="How many at most.")
@json_option
def list_(user_id: str, limit: int, *, as_json: bool) -> None:
    """List a user's living sessions, the last used first."""
    found: list[Session] = []
    with services() as made:
        cursor: str | None = None
        while len(found) < limit:
            page, cursor = made.sessions.list(user_id, min(PAGE, limit - len(found)), cursor)
            found += page
            if cursor is None:
                break
        now = made.clock.now()
    if as_json:
        for session in found:
            click.echo(json.dumps(_shown(session)))
        return
    rows = [
        [s.id, s.flow, str(s.turn_count), str(s.message_count), f"{age(now - s.updated_at)} ago", inert(s.title or "-")]
        for s in found
    ]
    for line in table(["SESSION", "FLOW", "TURNS", "MESSAGES", "USED", "TITLE"], rows):
        click.echo(line)


@sessions.command()
@json_option
def count(*, as_json: bool) -> None:
    """Count the living sessions of everybody. Reads all of the table: see docs/operating.md for what that costs."""
    with services() as made:
        found = made.surveyor.survey()
    if as_json:
        click.echo(json.dumps({"active": found.active, "by_flow": found.by_flow}))
        return
    click.echo(f"{found.active} active")
    for flow, number in found.by_flow.most_common():
        click.echo(f"  {inert(flow)}: {number}")


@sessions.command()
@click.option("--limit", type=click.IntRange(1), help="How many at most.")
def clean(limit: int | None) -> None:
    """Delete the sessions whose time in the table is over. DynamoDB does so by itself, up to two days late."""
    with services() as made:
        deleted = made.surveyor.clean(limit=limit)
    click.echo(f"{deleted} deleted")


def _shown(session: Session) -> dict[str, object]:
    return {
        "session_id": session.id,
        "flow": session.flow,
        "title": session.title,
        "turn_count": session.turn_count,
        "message_count": session.message_count,
        "created_at": timestamp(session.created_at),
        "updated_at": timestamp(session.updated_at),
        "expires_at": timestamp(session.expires_at),
    }
