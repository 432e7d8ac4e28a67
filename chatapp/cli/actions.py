"""`actions`: how proposed and confirmed actions stand, and what became of those of which nobody knows."""

import json
import re
from collections.abc import Iterable
from typing import Any

import click

from chatapp.cli.operating import age, inert, json_option, services, table
from chatapp.effects import Effect, EffectId, EffectStatus, Kind
from chatapp.errors import ActionNotOpen, NotFound
from chatapp.flows.extra import public
from chatapp.services import Services

HEAD = ["ACTION", "NAME", "STATUS", "ATTEMPTS", "SINCE", "LAST ERROR"]
OPEN = (EffectStatus.CONFIRMED, EffectStatus.EXECUTING, EffectStatus.UNKNOWN)
"""What stands in the index of open work; to find others the whole table is read."""

SHOWN_ERROR = 60


@click.group()
def actions() -> None:
    """Look at actions, and resolve those whose outcome is not known. docs/actions.md tells how."""


@actions.command("list")
@click.option(
    "--status",
    "wanted",
    multiple=True,
    type=click.Choice([s.value for s in EffectStatus]),
    help="Of these only; may be repeated.",
)
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Show so many at most.")
@json_option
def list_(wanted: tuple[str, ...], limit: int, *, as_json: bool) -> None:
    """List the open actions of all sessions, the longest open first: confirmed, executing, unknown.

    That reads an index of open work, 16 queries and a read for each that is found. With another --status the whole table is
    scanned, which DynamoDB bills by its size.
    """
    statuses = {EffectStatus(w) for w in wanted} or set(OPEN)
    with services() as made:
        now = made.clock.now()
        found = sorted(_found(made, statuses, now), key=lambda e: e.confirmed_at or e.created_at)
        rows = [_row(effect, now) for effect in found[:limit]]
    if as_json:
        for effect in found[:limit]:
            click.echo(json.dumps(_told(effect, now)))
        return
    for line in table(HEAD, rows):
        click.echo(line)
    more = f" (more are left out: see --limit, {len(found)} in all)" if len(found) > limit else ""
    click.echo(f"\nactions: {len(rows)}{more}", err=True)


@actions.command()
@click.argument("action", metavar="SESSION/ACTION")
@click.option("--executed", is_flag=True, help="It was carried out.")
@click.option("--failed", is_flag=True, help="It was not carried out, and will not be.")
@click.option("--note", help="What you found: kept with the action, and shown to its user.")
@json_option
def resolve(action: str, note: str | None, *, executed: bool, failed: bool, as_json: bool) -> None:
    """Say what became of an unknown action. Its user and its session's webhook are told as of any end."""
    effect_id = EffectId.parse(action)
    if effect_id is None or effect_id.kind is not Kind.ACTION:
        raise click.UsageError("Name the action as `actions list` does: SESSION/ACTION.")
    if executed == failed:
        raise click.UsageError("Say what became of it: --executed, or --failed.")
    with services() as made:
        try:
            ended = made.resolving.resolve(effect_id, executed=executed, note=note)
        except (NotFound, ActionNotOpen) as error:
            raise click.ClickException(f"{action}: {error.detail}") from error
    click.echo(json.dumps(_told(ended, made.clock.now())) if as_json else f"{action} is {ended.status.value}")


def _found(made: Services, statuses: set[EffectStatus], now: int) -> Iterable[Effect]:
    effects = map(made.effects.get, made.effects.all_open()) if statuses <= set(OPEN) else made.effects.scan()
    return (e for e in effects if e is not None and e.id.kind is Kind.ACTION and e.status_at(now) in statuses)


def _told(effect: Effect, now: int) -> dict[str, Any]:
    named = {"action": str(effect.id), "session_id": effect.id.session_id, "user_id": effect.user_id}
    return named | public(effect, now) | {"attempts": effect.attempts, "asks": effect.asks}


def _row(effect: Effect, now: int) -> list[str]:
    error = effect.error or {}
    since = effect.ended_at or effect.confirmed_at or effect.created_at
    told = re.sub(": $", "", f"{error.get('code', '-')}: {error.get('message', '')}")
    return [
        str(effect.id),
        inert(effect.name),
        effect.status_at(now).value,
        str(effect.attempts),
        age(now - since),
        inert(told)[:SHOWN_ERROR],
    ]
