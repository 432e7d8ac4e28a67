"""CPU of the API per accepted `POST /chat`, against a bare Flask view that only sends to SQS."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import boto3

from bench.clients import Post, post_all
from bench.figures import Comparison
from bench.servers import Stage, cpu_seconds, stage
from config.resources import CHAT

ROUNDS = 5
REQUESTS = 400
MESSAGE = "How do I cook rice so that the grains stay apart? I have a pot, a lid and no patience."


def run() -> Iterator[Comparison]:
    """Measure. Yields: one comparison for a message that begins a session, one for the next message in a session."""
    # The limit is counted, in Redis, as for everybody; it is only never reached.
    with stage(RATE_LIMIT_REQUESTS="1000000") as on:
        api, ours = on.start("api"), on.ports.api
        _send(ours, [{"message": MESSAGE}])
        bare, theirs = on.gunicorn("config/gunicorn_api.py", "bench.bare_post:create_app()", "API_BIND", _same_message(on))
        unit, baseline = "ms CPU per request", "a view that only sends to SQS"
        first = Comparison("POST /chat, new session", unit, baseline)
        later = Comparison("POST /chat, existing session", unit, baseline)
        for number in range(ROUNDS + 1):
            new = [{"message": MESSAGE} for _ in range(REQUESTS)]
            bare_ms, _ = _cost(bare, theirs, new)
            first_ms, accepted = _cost(api, ours, new)
            later_ms, _ = _cost(api, ours, [{"message": MESSAGE, "session_id": a["session_id"]} for a in accepted])
            if number > 0:  # the first round warms up connections and caches
                first.add(first_ms, bare_ms)
                later.add(later_ms, bare_ms)
        yield first
        yield later


def _same_message(on: Stage) -> dict[str, str]:
    """Read the wake-up that a post has sent, so that the baseline's messages are of its size."""
    sqs = boto3.client(
        "sqs",
        region_name=on.env["AWS_REGION"],
        endpoint_url=on.env["AWS_ENDPOINT_URL"],
        aws_access_key_id=on.env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=on.env["AWS_SECRET_ACCESS_KEY"],
    )
    queue_url = on.env["SQS_QUEUE_URL_PREFIX"] + CHAT.name
    with closing(sqs):
        message = sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=5)["Messages"][0]
    return {"BARE_QUEUE_URL": queue_url, "BARE_BODY_BYTES": str(len(message["Body"]))}


def _cost(pid: int, port: int, bodies: Sequence[dict[str, str]]) -> tuple[float, list[dict[str, Any]]]:
    """Post everything. Returns: (milliseconds of the server's CPU per request, the answers)."""
    before = cpu_seconds(pid)
    answers = _send(port, bodies)
    return 1000 * (cpu_seconds(pid) - before) / len(bodies), answers


def _send(port: int, bodies: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    return post_all(port, [Post("/chat", body) for body in bodies])
