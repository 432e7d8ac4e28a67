"""A worker's way to the model, on gevent: `python -m gevent.monkey --module tests.integration.guarded_child MODEL_URL REDIS_URL`.

Throws each way of stopping an attempt into greenlets that wait for a provider, and prints what came of it as one JSON object.
"""

import json
import random
import socket
import sys
import urllib.request
from collections import Counter

import gevent

from chatapp.errors import AttemptTimedOut, CancelRequested, HandBack, StaleAttempt
from chatapp.model import Message, ModelOptions, ModelRequest, TextDelta
from chatapp.services import build
from config.settings import Settings

STOPS = (CancelRequested, HandBack, StaleAttempt, AttemptTimedOut, gevent.GreenletExit, ValueError)
SILENT = {"before the answer": "[[hang]]", "in the answer": "[[hang=5]]"}
ROUNDS = 200


def main():
    """Run all rounds."""
    url, redis_url = sys.argv[1:]
    services = build(Settings(openai_base_url=url, redis_url=redis_url, env="test"))
    outcomes = Counter()
    for number in range(ROUNDS):
        stop = STOPS[number % len(STOPS)]("thrown in")
        where = list(SILENT)[number // len(STOPS) % 2]
        outcomes[stopped(services.llm, url, SILENT[where], stop)] += 1
    outcomes[stopped_while_redis_is_silent(url)] += 1
    (breaker,) = services.breakers.chain("scripted")
    pool = services.llm._providers[0].llm._client._client._transport._pool
    connections = len(pool.connections)
    crowd(services.llm)
    print(
        json.dumps(
            {
                "outcomes": outcomes,
                "stats": stats(url),
                "connections": connections,
                "requests": len(pool._requests),
                "errors": breaker.failure_count,
                "answer": "".join(p.text for p in services.llm.stream(asked("[[echo=well]]")) if isinstance(p, TextDelta)),
            }
        )
    )


def crowd(llm):
    """Throw into many at any moment: also while one of them has the connection pool's lock."""
    chance = random.Random(5)

    texts = ["[[ttft=0.05]] [[tokens=20 delay=0.002]]", "[[tokens=60 delay=0.001]]", "[[status=400]]", "[[tokens=3]]"]

    def one():
        greenlet = gevent.spawn(lambda text: list(llm.stream(asked(text))), chance.choice(texts))
        gevent.sleep(chance.uniform(0, 0.09))
        greenlet.kill(CancelRequested("thrown in"))

    for _ in range(60):
        gevent.joinall([gevent.spawn(one) for _ in range(12)])


def stopped(llm, url, message, stop):
    """Throw `stop` into a greenlet that waits for the provider. Returns: what was wrong, or `unchanged, at once`."""
    before = stats(url)
    seen = []

    def attempt():
        try:
            seen.extend(llm.stream(asked(message)))
        except BaseException as error:  # noqa: BLE001  that is what is looked at
            seen.append(error)

    greenlet = gevent.spawn(attempt)
    wait_for(lambda: (now := stats(url))["in_flight"] == 1 and now["chunks_written"] - before["chunks_written"] in (0, 5))
    if message == "[[hang=5]]":
        wait_for(lambda: sum(isinstance(p, TextDelta) for p in seen) == 5)
    greenlet.kill(stop)
    if seen[-1] is not stop:
        return f"{stop!r} became {seen[-1]!r}"
    with gevent.Timeout(10, RuntimeError("the provider's connection was not closed")):
        wait_for(lambda: (now := stats(url))["in_flight"] == 0 and now["aborted_streams"] == before["aborted_streams"] + 1)
    return "unchanged, at once"


def stopped_while_redis_is_silent(url):
    """Throw into a greenlet whose breaker waits for a Redis that says nothing: the next call is not held up by it."""
    silent = socket.create_server(("127.0.0.1", 0))
    services = build(Settings(openai_base_url=url, redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0", env="test"))
    stop = CancelRequested("thrown in")
    greenlet = gevent.spawn(lambda: list(services.llm.stream(asked("[[echo=x]]"))))
    (breaker,) = services.breakers.chain("scripted")
    wait_for(breaker._asking.locked)
    gevent.sleep(0.05)
    greenlet.kill(stop)
    if greenlet.exception is not stop:
        return f"{stop!r} became {greenlet.exception!r}"
    if breaker._asking.locked() or services.redis.connection_pool._in_use_connections:
        return "the breaker still asks"
    return "unchanged, at once" if list(services.llm.stream(asked("[[echo=x]]"))) else "no answer"


def wait_for(condition):
    """Wait until it is so."""
    while not condition():
        gevent.sleep(0.001)


def asked(text):
    """Ask something."""
    return ModelRequest((Message("user", text),), ModelOptions("scripted"), "u", "job")


def stats(url):
    """Ask the model server what it counted."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as answer:  # noqa: S310
        return {k: v for k, v in json.load(answer).items() if k != "last"}


if __name__ == "__main__":
    main()
