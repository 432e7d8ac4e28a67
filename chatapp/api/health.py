"""Whether the process lives, and whether what it needs is there. For load balancers and operators."""

from flask import Blueprint, Response, json

from chatapp.api.answers import RedisHealth
from chatapp.api.context import services
from chatapp.api.operations import operation
from chatapp.api.replies import reply

bp = Blueprint("health", __name__)

NEEDED = frozenset({"dynamodb"})
"""Without it nothing can be accepted. Without SQS or Redis messages are still kept (the relay and the store see to them)."""


@bp.get("/health/live")
@operation(answers={200: "application/json"}, public=True)
def live() -> Response:
    """Say that the process answers."""
    return Response('{"status":"UP"}', mimetype="application/json")


@bp.get("/health/ready")
@operation(answers={200: "application/json", 503: "application/json"}, public=True)
def ready() -> Response:
    """Say of each part whether it is up; 503 when one is down without which no message can be accepted.

    Beside them stand the breakers in front of the models; an open one is the provider's trouble, not this process's.
    """
    parts = services().health.ready()
    fit = all(up for part, up in parts.items() if part in NEEDED)
    shown = {
        "status": "UP" if fit else "DOWN",
        "parts": {part: "UP" if up else "DOWN" for part, up in parts.items()},
        "breakers": services().breakers.states(),
    }
    return Response(json.dumps(shown), 200 if fit else 503, mimetype="application/json")


@bp.get("/health/redis")
@operation(answers={200: RedisHealth, 503: RedisHealth}, public=True)
def redis() -> Response:
    """Say whether Redis answers."""
    up = services().health.redis()
    return reply(RedisHealth(redis="UP" if up else "DOWN"), 200 if up else 503)
