"""The processes of production on one machine, with a fault proxy before each server, and nobody who starts again what dies."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import boto3
import httpx2
import pytest
from redis import Redis

from chatapp.auth import issue
from chatapp.dev import twin
from chatapp.dev.alone import running
from chatapp.dev.child import Child
from chatapp.dev.plan import WORKER_READY, processes
from chatapp.dev.ports import HOST, Ports, free_port
from chatapp.errors import ProviderUnavailable
from chatapp.provision import Provisioner
from chatapp.services import Services, build
from config.settings import DEV_JWT_SECRET, Settings
from tests.chaos.member import Member
from tests.chaos.outside import Outside
from tests.faults.proxy import FaultProxy
from tests.servers import clean_env

USER = "chaos"
VISIBILITY_SECONDS = 6

QUICK = {
    "LEASE_SECONDS": "4",
    "LEASE_RENEW_SECONDS": "1.3",
    "RELAY_SECONDS": "1",
    "RELAY_FIRST_LOOK_SECONDS": "3",
    "RETRY_SECONDS": "0.5",
    "MAX_FAILURES": "4",
    "MAX_CRASHES": "3",
    "SHUTDOWN_GRACE_SECONDS": "1",
    "LLM_READ_SECONDS": "3",
    "LLM_CONNECT_SECONDS": "1",
    "RATE_LIMIT_REQUESTS": "0",
    "ON_BREAKER_OPEN": "wait",
    "BREAKER_OPEN_SECONDS": "2",
    "LLM_MODELS": ",".join(f"m{n}" for n in range(1, 100)),
}
"""A fleet's times, cut to a fifth: what is waited for here is the same, and waited for less.

Each fault has a model of its own, and with it a breaker of its own: what one fault did to a provider does not slow the next.
"""


class Fleet:
    """Two emulators, a model, an API, a WebSocket server and some workers. Started and stopped as a context manager.

    `to_aws_of_api`, `to_aws_of_workers`, `to_aws_of_effects`, `to_model` are the proxies between them; tests, and the WebSocket
    server, ask the emulator directly. Redis has no proxy: it is killed and stopped itself. With `effects`, so many workers
    carry effects out, and there is an `outside` that they call.
    """

    def __init__(self, folder: Path, *, workers: int, seed: int, effects: int = 0, **settings: str) -> None:
        self.folder = folder
        self.armed = folder / "armed"
        self.armed.mkdir()
        self.token = issue(DEV_JWT_SECRET, USER, seconds=36_000)
        self._stack = ExitStack()
        self._ports = Ports(*_distinct(5))
        self._seed = seed
        self._settings = {**QUICK, **settings}
        self._size, self._effects_size = workers, effects
        self.max_failures = int(self._settings["MAX_FAILURES"])
        self.max_crashes = int(self._settings["MAX_CRASHES"])
        self.retry_seconds = float(self._settings["RETRY_SECONDS"])
        self.redis_server: Member
        self.api: Member
        self.ws: Member
        self.workers: list[Member]
        self.effects: list[Member]
        self.outside: Outside | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        ports, folder = self._ports, self.folder
        for child in (twin.aws(ports.aws, None), twin.model(ports.llm, delay=0.02)):
            self._stack.enter_context(running(child, clean_env(child.env), folder))
        self.to_aws_of_api, self.to_aws_of_workers, self.to_aws_of_effects = (self._proxy(ports.aws, i) for i in (1, 2, 4))
        self.to_model = self._proxy(ports.llm, 3)
        if self._effects_size:
            self.outside = Outside(self._stack, folder, seed=self._seed)
            self._settings |= self.outside.env()
        children = {child.name: child for child in processes(ports)}
        self.redis_server = self._member(twin.redis(ports.redis, None), {})
        self.redis_server.start()
        self.redis_server.wait_until_ready()
        self.services = self._provision()
        self.api = self._member(children["api"], self._env(self.to_aws_of_api.port))
        self.ws = self._member(children["ws"], self._env(ports.aws))
        self.workers = self._several(children["worker"], self._size, self.to_aws_of_workers)
        self.effects = self._several(children["effects"], self._effects_size, self.to_aws_of_effects)
        for member in self.ours:
            member.start()
        for member in self.ours:
            member.wait_until_ready()

    def _several(self, child: Child, count: int, to_aws: FaultProxy) -> list[Member]:
        env = self._env(to_aws.port)
        return [
            self._member(Child(f"{child.name}-{n}", child.command, ready_line=WORKER_READY), env) for n in range(1, count + 1)
        ]

    def _proxy(self, upstream: int, place: int) -> FaultProxy:
        return self._stack.enter_context(FaultProxy(upstream, seed=self._seed * 10 + place))

    def _member(self, child: Child, env: dict[str, str]) -> Member:
        member = Member(child, env, self.folder)
        self._stack.callback(member.end)
        return member

    def _env(self, aws_port: int) -> dict[str, str]:
        ports = self._ports
        return {
            **twin.aws_env(aws_port),
            "CHATAPP_ENV": "test",
            "REDIS_URL": f"redis://{HOST}:{ports.redis}/0",
            "API_BIND": f"{HOST}:{ports.api}",
            "WS_BIND": f"{HOST}:{ports.ws}",
            "PUBLIC_WS_URL": self.ws_url,
            "OPENAI_BASE_URL": f"{self.to_model.url}/v1",
            "OPENAI_API_KEY": "scripted",
            "LLM_MODEL": "scripted",
            "FAIL_POINTS": str(self.armed),
            "PYTHONUNBUFFERED": "1",
            **self._settings,
        }

    def _provision(self) -> Services:
        """Make queues and tables, and services of our own that look at them without a proxy between."""
        env = self._env(self._ports.aws)
        names = {"CHATAPP_ENV": "env"}
        given = {names.get(k, k.lower()): v for k, v in env.items()}
        known = {k: v for k, v in given.items() if k in Settings.model_fields and k != "fail_points"}
        settings = Settings.model_validate(known)
        patch = self._stack.enter_context(pytest.MonkeyPatch.context())
        for name in (n for n in env if n.startswith("AWS_")):
            patch.setenv(name, env[name])
        Provisioner(settings).apply()
        self.queue_url, self.dlq_url = settings.queue_url("chat"), settings.queue_url("chat-dlq")
        self.effects_url, self.effects_dlq_url = settings.queue_url("effects"), settings.queue_url("effects-dlq")
        self.sqs: Any = boto3.client("sqs", region_name=settings.aws_region, endpoint_url=settings.aws_endpoint)
        for url in (self.queue_url, self.effects_url):
            self.sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(VISIBILITY_SECONDS)})
        return build(settings)

    # --- addresses

    @property
    def api_url(self) -> str:
        """The API's base URL."""
        return f"http://{HOST}:{self._ports.api}"

    @property
    def ws_url(self) -> str:
        """The WebSocket's address."""
        return f"ws://{HOST}:{self._ports.ws}/ws"

    def redis(self) -> Redis:
        """A client of the Redis server."""
        return Redis(host=HOST, port=self._ports.redis, decode_responses=True)

    # --- fail points

    def arm(self, point: str, action: str) -> None:
        """Arm a fail point, once for the fleet."""
        self.hit_file(point).unlink(missing_ok=True)
        (self.armed / f"{point}.new").write_text(action)
        (self.armed / f"{point}.new").rename(self.armed / point)

    def disarm(self, point: str) -> None:
        """Take an order back that nobody has met."""
        (self.armed / point).unlink(missing_ok=True)

    def hit_file(self, point: str) -> Path:
        """The proof that a fail point was met: it holds the process id, and was written at that moment."""
        return self.armed / f"{point}.hit"

    # --- life and death

    @property
    def ours(self) -> tuple[Member, ...]:
        """The processes that run our code."""
        return (self.api, self.ws, *self.workers, *self.effects)

    def worker_of(self, pid: int) -> Member:
        """The worker, of either kind, with a process id."""
        return next(worker for worker in (*self.workers, *self.effects) if worker.pid == pid)

    def revive(self, *, wait: bool = True) -> None:
        """Start again what has ended, as a supervisor would. `wait`: until all of it works."""
        dead = [member for member in (self.redis_server, *self.ours) if not member.alive]
        for member in dead:
            member.start()
        for member in dead if wait else ():
            member.wait_until_ready()

    def restart(self, members: Sequence[Member], **settings: str) -> None:
        """Start some again with other settings."""
        for member in members:
            member.kill()
            member.change(**settings)
        self.revive()

    # --- what the servers say

    def open_breaker(self, model: str, seconds: float) -> None:
        """Report so many errors of a model that its breaker opens for the whole fleet."""
        (breaker,) = self.services.breakers.chain(model)

        def fail() -> None:
            raise ProviderUnavailable("staged", retry_after=seconds)

        for _ in range(self.services.settings.breaker_errors + 1):
            with suppress(ProviderUnavailable):
                breaker.call(fail)
        assert self.breaker(model) == "open"

    def breaker(self, model: str) -> str:
        """Say the state of a model's breaker."""
        (breaker,) = self.services.breakers.chain(model)
        return str(breaker.state)

    def model_calls(self) -> list[dict[str, Any]]:
        """The model's own account of its calls."""
        calls: list[dict[str, Any]] = httpx2.get(f"http://{HOST}:{self._ports.llm}/calls", timeout=10).json()
        return calls

    def messages(self, url: str) -> dict[str, int]:
        """How many messages of a queue are to be seen, and how many are hidden or delayed."""
        names = ("", "NotVisible", "Delayed")
        keys = [f"ApproximateNumberOfMessages{name}" for name in names]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=keys)["Attributes"]
        return {(name or "Visible"): int(found[key]) for name, key in zip(names, keys, strict=True)}


def _distinct(count: int) -> list[int]:
    ports: list[int] = []
    while len(ports) < count:
        ports.append(free_port(ports))
    return ports
