"""Thousands of sockets dropped at once: how long until all have resumed, what they missed, and what DynamoDB was asked."""

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from bench.clients import Post, post_all, token_of
from bench.crowd import Client, Crowd
from bench.figures import Finding
from bench.process import started
from bench.servers import Stage, open_many_files, stage
from tests.faults.proxy import FaultProxy

SOCKETS = int(os.environ.get("BENCH_SOCKETS", "2000"))
RATE = 500
"""Events a second, over all turns, while the sockets are dropped and come back."""
BEFORE_SECONDS = 2
LATER_SECONDS = 32
"""By then all idle sockets have looked at the table once: they spread that over half a minute (ws/subscriptions.py)."""
LONGEST_SECONDS = 60
TABLE = "DynamoDB_20120810."


class Follower(Client):
    """Follows a session, and resumes from where it was."""

    def __init__(self, port: int, user: str, session_id: str) -> None:
        super().__init__(port, headers=f"Authorization: Bearer {token_of(user)}\r\n")
        self.session_id = session_id
        self.seen: list[tuple[str, int]] = []
        """The events of its turn: job, seq."""
        self.recovered = True
        self.refusals = 0
        self._resume: dict[str, str | None] = {"job_id": f"{session_id}.1", "after": None}

    def greet(self) -> None:
        """Follow, from the last event that was seen."""
        self.send(json.dumps({"type": "subscribe", "session_id": self.session_id, "resume": self._resume}))

    def text(self, payload: bytes, at: int) -> None:  # noqa: ARG002
        """Keep count of what comes."""
        frame = json.loads(payload)
        if "job_id" in frame and "seq" in frame:
            self._resume = {"job_id": frame["job_id"], "after": frame["id"]}
            self.seen.append((frame["type"], frame["seq"]))
        elif frame["type"] == "subscribed":
            self.ready = True
            self.recovered &= all(turn["recovered"] for turn in frame["turns"])
        elif frame["type"] == "refused":  # DynamoDB was too slow, say
            self.refusals += 1
            self.greet()

    @property
    def whole(self) -> bool:
        """Whether every event came, once, in order, to the end."""
        return [seq for _, seq in self.seen] == [*range(len(self.seen))] and self.seen[-1][0] == "message_completed"

    def gone(self) -> None:
        """Wait to be called back."""


def run() -> Iterator[Finding]:
    """Measure. Yields: for each way to lose the connections, the time, and the reads that it cost."""
    open_many_files()
    with (
        stage(RATE_LIMIT_REQUESTS="0") as on,
        FaultProxy(on.ports.aws) as table,
        started(on, [sys.executable, "-m", "bench.publisher"]) as publisher,
    ):
        jobs = _asked(on)
        followers = [Follower(on.ports.ws, user, job.partition(".")[0]) for user, job in jobs]
        server = on.start("ws", AWS_ENDPOINT_URL=table.url)
        crowd = Crowd()
        publisher.ask(do="claim", jobs=[job for _, job in jobs], rate=2_000)
        crowd.open(followers)

        def killed() -> None:
            nonlocal server
            os.killpg(server, signal.SIGKILL)
            server = on.start("ws", AWS_ENDPOINT_URL=table.url)

        def cut() -> None:
            for follower in followers:
                follower.reset()

        for what, drop in (("in mid-answer, connections reset", cut), ("in mid-answer, server killed", killed)):
            publisher.tell(do="publish", events=RATE * LONGEST_SECONDS // 4, rate=RATE, direct=0)
            crowd.run(lambda: False, BEFORE_SECONDS)
            yield from _dropped(what, drop, crowd, followers, table.requests)
            publisher.hear()
        publisher.ask(do="complete")
        crowd.run(lambda: all(f.seen[-1][0] == "message_completed" for f in followers), seconds=30)
        yield Finding("sockets with every event, once, in order", sum(f.whole for f in followers), f"of {SOCKETS:,}")
        before = _reads(table.requests)
        yield from _dropped("idle, connections reset", cut, crowd, followers, table.requests)
        crowd.run(lambda: False, LATER_SECONDS)
        yield Finding(f"idle, {LATER_SECONDS} s later: requests to DynamoDB", _reads(table.requests) - before, "requests")


def _asked(on: Stage) -> list[tuple[str, str]]:
    """Post messages. Returns: for each its user and its job, which waits for a worker."""
    on.start("api")
    users = [f"bench-{n}" for n in range(SOCKETS)]
    posts = [Post("/chat", {"message": "How do I cook rice?"}, user) for user in users]
    return [(user, answer["job_id"]) for user, answer in zip(users, post_all(on.ports.api, posts), strict=True)]


def _dropped(
    what: str, drop: Callable[[], None], crowd: Crowd, followers: Sequence[Follower], requests: Counter[str]
) -> Iterator[Finding]:
    drop()
    before, began = _reads(requests), time.monotonic()
    crowd.open(followers, at_once=len(followers), seconds=LONGEST_SECONDS)
    seconds = time.monotonic() - began
    asked = _reads(requests) - before
    recovered, refused = sum(f.recovered for f in followers), sum(f.refusals for f in followers)
    yield Finding(what, seconds, "s until all resumed", f"{recovered:,} of {len(followers):,} recovered, {refused:,} refusals")
    yield Finding(f"{what}: requests to DynamoDB", asked, "requests")


def _reads(requests: Counter[str]) -> int:
    return sum(count for name, count in requests.items() if name.startswith(TABLE))
