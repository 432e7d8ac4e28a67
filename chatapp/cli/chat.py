"""`chat`: post a message and print the answer as it streams in."""

import json
import os
import re
import sys
from typing import Any

import click
import httpx2

from chatapp.client import Answer, Client, ClientError, Disconnected, Event, Refused
from chatapp.dev import join
from chatapp.payloads import CANCELLED, COMPLETED, ERROR, RETRYING

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@click.command()
@click.argument("text", required=False)
@click.option("--session", help="Go on with this session.")
@click.option("--flow", help="Begin a session of this flow: interview, orchestrator... Without TEXT it speaks first.")
@click.option("--url", help="Where the API is. [default: that of `make run` in this folder]")
@click.option(
    "--token", help="A bearer token; CHAT_TOKEN in the environment will do too. [default: one for `demo`, on a development stack]"
)
@click.option("--events", is_flag=True, help="Print the events as they are, a JSON line each.")
def chat(text: str | None, session: str | None, flow: str | None, url: str | None, token: str | None, *, events: bool) -> None:
    """Post TEXT and print the answer: as it streams in on a terminal, and as a whole where it is piped on."""
    if text is None and (flow is None or session is not None):
        raise click.UsageError("Say something: TEXT, or --flow of one that speaks first.")
    url = url or f"http://{join.settings().api_bind}"
    bearer = token or os.environ.get("CHAT_TOKEN") or _demo_token(url)
    try:
        with Client(url, bearer, on_break=_tell_break) as client, _asked(client, text, session, flow) as answer:
            show = _events if events else _streaming if sys.stdout.isatty() else _whole
            show(answer)
    except ClientError as error:
        raise click.ClickException(_explained(error)) from error
    if answer.end is None or answer.end.type != COMPLETED:
        sys.exit(1)


def _asked(client: Client, text: str | None, session: str | None, flow: str | None) -> Answer:
    if text is not None:
        fields: dict[str, Any] = {"flow": flow} if flow else {}
        return client.chat(text, session, **fields)
    try:
        return client.begin(flow or "")
    except ValueError as error:
        raise click.UsageError(f"{error}, or say TEXT") from error


def _demo_token(url: str) -> str:
    try:
        token = httpx2.get(f"{url}/app-config", timeout=10).raise_for_status().json()["dev_token"]
    except httpx2.TransportError as error:
        raise click.ClickException(f"{url} does not answer ({error}). Is `make run` running?") from error
    except (httpx2.HTTPStatusError, ValueError, KeyError) as error:
        raise click.ClickException(f"{url} is no chatapp API") from error
    if not token:
        raise click.ClickException("This is no development stack: give a token with --token")
    return str(token)


def _explained(error: ClientError) -> str:
    match error:
        case Refused():
            return error.detail + "".join(
                f"\n  {wrong.get('pointer', wrong.get('parameter', ''))}: {wrong.get('detail', '')}" for wrong in error.errors
            )
        case Disconnected(job_id=str()):
            return f"{error.detail}. The message is kept: read /jobs/{error.job_id} later"
    return f"{error.detail}. Is `make run` running?"


def _tell_break(_why: str) -> None:
    click.echo("\n[the connection is lost, trying again]", err=True)


def _events(answer: Answer) -> None:
    for event in answer:
        click.echo(json.dumps(event.as_dict()))


def _whole(answer: Answer) -> None:
    """Print the answer once it has ended: what an attempt said that was given up is no part of it."""
    for event in answer:
        _tell(event)
    if answer.end is not None and answer.end.type != ERROR:
        click.echo(_inert(answer.text), nl=False)
    _tell_end(answer)


def _streaming(answer: Answer) -> None:
    """Print each piece as it comes. What was printed cannot be taken back, so it is said when the text begins anew."""
    shown = ""
    for event in answer:
        _tell(event)
        text = answer.text if event.terminal and event.type != ERROR else answer.text_so_far
        if not text.startswith(shown):
            click.echo("\n[from the beginning]", err=True)
            shown = ""
        click.echo(_inert(text[len(shown) :]), nl=False)
        shown = text
    _tell_end(answer)


def _tell(event: Event) -> None:
    match event.type:
        case kind if kind == RETRYING:
            click.echo(f"\n[{event.data['reason']}: tried again in {event.data['retry_in']:g} s]", err=True)
        case kind if kind == ERROR:
            click.echo(f"\n[failed: {event.data['message']}]", err=True)
        case kind if kind == CANCELLED:
            click.echo("\n[cancelled]", err=True)


def _tell_end(answer: Answer) -> None:
    ended = answer.end.type if answer.end else "open"
    if answer.end is not None and (replies := answer.end.data.get("quick_replies")):
        click.echo(f"\n\n  {_inert(' | '.join(replies))}", nl=False, err=True)
    click.echo(f"\n\n[{answer.job_id} {ended}]  go on with: --session {answer.session_id}", err=True)


def _inert(text: str) -> str:
    """Take out what a terminal would obey: an answer must not move the cursor, or set the title."""
    return CONTROL.sub("", text)
