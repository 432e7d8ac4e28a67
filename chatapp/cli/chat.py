"""`chat`: post a message and print the answer as it streams in."""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import click
import httpx2
from websocket import create_connection

from chatapp.payloads import CANCELLED, COMPLETED, DELTA, ERROR, RESET, SNAPSHOT, TERMINAL


@click.command()
@click.argument("text")
@click.option("--session", help="Go on with this session.")
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="Where the API is.")
@click.option(
    "--token", help="A bearer token; CHAT_TOKEN in the environment will do too. [default: one for `demo`, on a development stack]"
)
@click.option("--events", is_flag=True, help="Print the events as they are, a JSON line each.")
def chat(text: str, session: str | None, url: str, token: str | None, *, events: bool) -> None:
    """Post TEXT and print the answer as it streams in."""
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
    told: dict[str, Any] = answer.json()
    if answer.status_code != 202:
        raise click.ClickException(f"{told['title']}: {told['detail']} {json.dumps(told.get('errors', ''))}")
    return told


def _follow(job: dict[str, Any], token: str) -> Iterator[dict[str, Any]]:
    """Yield the events of the job, up to its end."""
    socket = create_connection(job["links"]["websocket"], header=[f"Authorization: Bearer {token}"], timeout=60)
    try:
        resume = {"job_id": job["job_id"], "after": None}
        socket.send(json.dumps({"type": "subscribe", "session_id": job["session_id"], "resume": resume}))
        while True:
            event = json.loads(socket.recv())
            if event["type"] == "refused":
                raise click.ClickException(event["message"])
            if event.get("job_id") == job["job_id"]:
                yield event
                if event["type"] in TERMINAL:
                    return
    finally:
        socket.close()


def _show(event: dict[str, Any]) -> None:
    match event["type"]:
        case kind if kind == DELTA and event["kind"] == "text":
            click.echo(event["text"], nl=False)
        case kind if kind == RESET:
            click.echo("\n[a new attempt begins]", err=True)
        case kind if kind == SNAPSHOT:
            click.echo("\n[from the beginning]\n" + event["text"], nl=False)
        case kind if kind == ERROR:
            click.echo(f"\n[failed: {event['message']}]", err=True)
        case kind if kind == CANCELLED:
            click.echo("\n[cancelled]", err=True)
