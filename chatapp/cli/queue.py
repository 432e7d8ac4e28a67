"""`queue`: how deep the queues are, and whether they are consumed."""

import json
from typing import Any

import click

from chatapp.cli.operating import age, json_option, queue_option, services, table
from chatapp.model import timestamp
from chatapp.queue import sqs_errors
from chatapp.services import Services
from config.resources import QUEUES, Queue

DEPTHS = {
    "visible": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}


@click.group()
def queue() -> None:
    """Look at the queues, and pause or resume their consumption."""


@queue.command()
@json_option
def status(*, as_json: bool) -> None:
    """Show how many messages wait, are in flight (or hidden until their turn is due), are delayed, and are dead."""
    with services() as made:
        states = [_state(q, made) for q in QUEUES]
        now = made.clock.now()
    if as_json:
        for state in states:
            click.echo(json.dumps(state | {"paused_since": state["paused_since"] and timestamp(state["paused_since"])}))
        return
    rows = [
        [*(str(state[name]) for name in ("queue", *DEPTHS, "dead")), f"for {age(now - since)}" if since else "-"]
        for state in states
        for since in [state["paused_since"]]
    ]
    for line in table(["QUEUE", "VISIBLE", "IN FLIGHT", "DELAYED", "DEAD", "PAUSED"], rows):
        click.echo(line)


@queue.command()
@queue_option
def pause(queue: str) -> None:
    """Let no worker take anything more from a queue. It lasts until `resume`; what runs goes on, and chats are accepted."""
    with services() as made:
        since = made.pauses.pause(queue)
    click.echo(f"{queue} is paused since {timestamp(since)}; workers notice within seconds")


@queue.command()
@queue_option
def resume(queue: str) -> None:
    """Let workers take from a queue again."""
    with services() as made:
        was_paused = made.pauses.resume(queue)
    click.echo(f"{queue} is consumed again" if was_paused else f"{queue} was not paused")


def _state(queue: Queue, made: Services) -> dict[str, Any]:
    depths = _depths(queue.name, made)
    dead = _depths(queue.dlq, made)
    return {"queue": queue.name, **depths, "dead": sum(dead.values()), "paused_since": made.pauses.paused(queue.name)}


def _depths(name: str, made: Services) -> dict[str, int]:
    with sqs_errors():
        answer = made.sqs.get_queue_attributes(QueueUrl=made.settings.queue_url(name), AttributeNames=["All"])
    found: dict[Any, str] = answer["Attributes"]
    return {ours: int(found[theirs]) for ours, theirs in DEPTHS.items()}
