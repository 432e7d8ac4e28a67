"""`dlq`: look at what has failed for good, try it again, or drop it."""

import json
import sys
from collections.abc import Callable, Iterator

import click

from chatapp.cli.operating import inert, json_option, queue_option, services, table
from chatapp.cli.redriving import Entry, Redriver, entries_of
from chatapp.deadletters import DeadLetter, Hold
from config.resources import CHAT, EFFECTS

ABOUT = {CHAT.name: ("JOB", "TURN"), EFFECTS.name: ("EFFECT", "STATUS")}
"""What the entries of a queue are about, and how that stands: the first and the last column."""
SHOWN_ERROR = 60

all_option = click.option("--all", "everything", is_flag=True, help="All entries.")
ids_option = click.option(
    "--job",
    "ids",
    multiple=True,
    metavar="ID",
    help="Entries of this job or effect, or the one with this message id; may be repeated.",
)
limit_option = click.option("--limit", type=click.IntRange(1), help="Look at so many entries at most.  [default: all]")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


@click.group()
def dlq() -> None:
    """Work the dead-letter queues. docs/operating.md tells how."""


@dlq.command("list")
@queue_option
@ids_option
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Look at so many entries at most.")
@all_option
@json_option
def list_(queue: str, ids: tuple[str, ...], limit: int, *, everything: bool, as_json: bool) -> None:
    """List the entries, those of one job or effect together. Those with a * need no redrive: it is not `failed`."""
    with services() as made, made.dead_letters.hold(queue, limit=None if everything else limit) as hold:
        found = entries_of(filter(_chosen(ids), hold), made)
    if as_json:
        for entry in found:
            click.echo(json.dumps(entry.as_dict()))
        return
    _echo_table(queue, found)
    more = " (there may be more: see --limit)" if hold.seen == limit and not everything else ""
    click.echo(f"\nentries of {queue}-dlq: {sum(len(e.letters) for e in found)}{more}", err=True)


@dlq.command()
@click.argument("wanted", metavar="ID")
@queue_option
@json_option
def show(wanted: str, queue: str, *, as_json: bool) -> None:
    """Show all that is known of an entry. ID is a job's, an effect's or a message's."""
    with services() as made, made.dead_letters.hold(queue) as hold:
        found = entries_of(filter(_chosen((wanted,)), hold), made)
    if not found:
        raise click.ClickException(f"no entry of {queue}-dlq has the id {inert(wanted)}")
    for entry in found:
        told = entry.as_dict() | {"body": entry.letters[0].body}
        if as_json:
            click.echo(json.dumps(told))
            continue
        for name, value in told.items():
            click.echo(f"{name:<12} {inert(value if isinstance(value, str) else json.dumps(value))}")


@dlq.command()
@queue_option
@all_option
@ids_option
@limit_option
@dry_run_option
@json_option
def redrive(queue: str, ids: tuple[str, ...], limit: int | None, *, everything: bool, dry_run: bool, as_json: bool) -> None:
    """Try failed turns again, each as a new turn of its session, and send unreadable messages back to their queue.

    Of the queue `effects`: deliveries, and actions that certainly were not carried out, begin anew. What was seen to is deleted
    here; an entry whose turn or effect is not `failed` is left.
    """
    _check_choice(ids, everything=everything)
    refused, seen = 0, 0
    with services() as made, made.dead_letters.hold(queue, limit=limit) as hold:
        redriver = Redriver(made, hold, dry_run=dry_run)
        for letter in filter(_chosen(ids), hold):
            outcome = redriver(letter)
            refused, seen = refused + (outcome.word == "refused"), seen + 1
            click.echo(json.dumps(outcome.as_dict()) if as_json else inert(outcome.line()))
    _conclude(seen, ids, queue)
    sys.exit(bool(refused))


@dlq.command()
@queue_option
@all_option
@ids_option
@limit_option
@click.option("--stale", is_flag=True, help="Only those whose turn or effect is not `failed`: nothing is left to do for them.")
@dry_run_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def discard(
    queue: str, ids: tuple[str, ...], limit: int | None, *, everything: bool, stale: bool, dry_run: bool, yes: bool
) -> None:
    """Delete entries. Their turns and effects stay as they are; nobody is told."""
    _check_choice(ids, everything=everything or stale)
    with services() as made:
        with made.dead_letters.hold(queue, limit=limit) as hold:
            found = [e for e in entries_of(filter(_chosen(ids), hold), made) if e.stale or not stale]
        _echo_table(queue, found)
        doomed = {letter.id for e in found for letter in e.letters}
        _conclude(len(doomed), ids, queue)
        if dry_run or not doomed:
            return
        # What is asked about is let go meanwhile: the answer may take longer than entries can be held.
        if not yes:
            click.confirm(f"Delete them ({len(doomed)})?", abort=True)
        with made.dead_letters.hold(queue) as hold:
            deleted = sum(1 for _ in _delete(hold, doomed))
    click.echo(f"deleted: {deleted}", err=True)
    sys.exit(deleted < len(doomed))


def _delete(hold: Hold, doomed: set[str]) -> Iterator[None]:
    left = set(doomed)
    for letter in hold:
        if letter.id in left:
            hold.delete(letter)
            left.discard(letter.id)
            yield
        if not left:
            return


def _chosen(ids: tuple[str, ...]) -> Callable[[DeadLetter], bool]:
    return lambda letter: not ids or letter.id in ids or str(letter.about) in ids


def _check_choice(ids: tuple[str, ...], *, everything: bool) -> None:
    if bool(ids) == everything:
        raise click.UsageError("Say which entries: --all, or --job ID.")


def _conclude(seen: int, ids: tuple[str, ...], queue: str) -> None:
    if ids and not seen:
        raise click.ClickException(f"no entry of {queue}-dlq has the id {inert(', '.join(ids))}")
    click.echo(f"entries of {queue}-dlq: {seen}", err=True)


def _echo_table(queue: str, entries: list[Entry]) -> None:
    about, standing = ABOUT[queue]
    for line in table([about, "SESSION", "ATTEMPTS", "LAST ERROR", "AGE", "COPIES", standing], [_row(e) for e in entries]):
        click.echo(line)


def _row(entry: Entry) -> list[str]:
    told = entry.as_dict()
    error = f"{told['reason']}: {told['detail']}" if told["detail"] else told["reason"]
    return [
        inert(told["job_id"] or told["effect_id"] or f"message {told['message_id']}"),
        told["session_id"] or "-",
        str(told["attempts"] if told["attempts"] is not None else "-"),
        inert(error)[:SHOWN_ERROR],
        told["age"],
        str(told["copies"]),
        told["turn"] + (" *" if entry.stale else ""),
    ]
