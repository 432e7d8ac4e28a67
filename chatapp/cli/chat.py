"""`chat`: post a message and print the answer as it streams in."""

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from time import monotonic, sleep
from typing import Any

import click
import httpx2
from websocket import WebSocketConnectionClosedException, WebSocketException, create_connection

from chatapp.dev import join
from chatapp.payloads import CANCELLED, COMPLETED, DELTA, ERROR, RESET, SNAPSHOT, TERMINAL

AWAY_SECONDS = 60.0
"""How long a broken connection is tried again before the command gives up. The answer is made all the same."""
PAUSE_SECONDS = 1.0

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@click.command()
@click.argument("text")
@click.option("--session", help="Go on with this session.")
@click.option("--url", help="Where the API is. [default: that of `make run` in this folder]")
@click.option(
    "--token", help="A bearer token; CHAT_TOKEN in the environment will do too. [default: one for `demo`, on a development stack]"
)
@click.option("--events", is_flag=True, help="Print the events as they are, a JSON line each.")
def chat(text: str, session: str | None, url: str | None, token: str | None, *, events: bool) -> None:
    """Post TEXT and print the answer as it streams in."""
    url = url or f"http://{join.settings().api_bind}"
    try:
        with httpx2.Client(base_url=url, timeout=10) as http:
            bearer = token or os.environ.get("CHAT_TOKEN") or _demo_token(http)
            job = _post(http, bearer, text, session)
    except httpx2.TransportError as error:
        raise click.ClickException(f"{url} does not answer ({error}). Is `make run` running?") from error
    last: dict[str, Any] = {}
    for last in _follow(job, bearer):
        click.echo(json.dumps(last)) if events else _show(last)
    if not events:
        click.echo(f"\n\n[{job['job_id']} {last['type']}]  go on with: --session {job['session_id']}", err=True)
    sys.exit(last["type"] != COMPLETED)


def _demo_token(http: httpx2.Client) -> str:
    token = http.get("/app-config").raise_for_status().json()["dev_token"]
    if not token:
        raise click.ClickException("This is no development stack: give a token with --token")
    return str(token)


def _post(http: httpx2.Client, token: str, text: str, session: str | None) -> dict[str, Any]:
    body = {"message": text} | ({"session_id": session} if session else {})
    answer = http.post("/chat", json=body, headers={"Authorization": f"Bearer {token}"})
    if not answer.headers.get("Content-Type", "").startswith("application/"):
        raise click.ClickException(f"{http.base_url} is no chatapp API: it answers HTTP {answer.status_code}")
    told: dict[str, Any] = answer.json()
    if answer.status_code != 202:
        wrong = "".join(f"\n  {e.get('pointer', e.get('parameter', ''))}: {e.get('detail', '')}" for e in told.get("errors", ()))
        raise click.ClickException(told["detail"] + wrong)
    return told


def _follow(job: dict[str, Any], token: str) -> Iterator[dict[str, Any]]:
    """Yield the events of the job, up to its end; a connection that breaks is made again, from behind the last event."""
    after, give_up = None, monotonic() + AWAY_SECONDS
    while True:
        try:
            for event in _connected(job, token, after):
                after, give_up = event["id"], monotonic() + AWAY_SECONDS
                yield event
                if event["type"] in TERMINAL:
                    return
        except (WebSocketException, OSError) as error:
            if monotonic() > give_up:
                raise click.ClickException(
                    f"the connection is lost ({error}). The message is kept: read {job['links']['self']} later"
                ) from error
            click.echo("\n[the connection is lost, trying again]", err=True)
            sleep(PAUSE_SECONDS)


def _connected(job: dict[str, Any], token: str, after: str | None) -> Iterator[dict[str, Any]]:
    """Yield the events of the job behind `after`, for as long as one connection lasts."""
    with closing(create_connection(job["links"]["websocket"], header=[f"Authorization: Bearer {token}"], timeout=60)) as socket:
        resume = {"job_id": job["job_id"], "after": after}
        socket.send(json.dumps({"type": "subscribe", "session_id": job["session_id"], "resume": resume}))
        while True:
            event = json.loads(socket.recv() or "{}")
            if not event:
                raise WebSocketConnectionClosedException("closed by the server")
            if event["type"] == "refused":
                raise click.ClickException(event["message"])
            if event.get("job_id") == job["job_id"]:
                yield event


def _show(event: dict[str, Any]) -> None:
    match event["type"]:
        case kind if kind == DELTA and event["kind"] == "text":
            click.echo(_inert(event["text"]), nl=False)
        case kind if kind == RESET:
            click.echo("\n[a new attempt begins]", err=True)
        case kind if kind == SNAPSHOT:
            click.echo("\n[from the beginning]\n" + _inert(event["text"]), nl=False)
        case kind if kind == ERROR:
            click.echo(f"\n[failed: {event['message']}]", err=True)
        case kind if kind == CANCELLED:
            click.echo("\n[cancelled]", err=True)


def _inert(text: str) -> str:
    """Take out what a terminal would obey: an answer must not move the cursor, or set the title."""
    return CONTROL.sub("", text)
