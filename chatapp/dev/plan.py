"""What `python -m chatapp dev` runs: the twin, and the same processes that production runs, with the variables that join them."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from chatapp.dev import standins, twin
from chatapp.dev.child import Child, http_ok
from chatapp.dev.model_server import MODELS
from chatapp.dev.ports import HOST, Ports
from config.resources import CHAT, EFFECTS, Queue
from config.settings import DEV_JWT_SECRET, Settings

WORKER_READY = "worker ready"

AS_ROOT = (
    "SecurityWarning",
    "absolutely not recommended",
    "Please specify a different user",
    "User information: ",
    "_security_error(",
)
"""What Celery says at every start when it runs as root: true in production, noise in a container on a laptop."""

QUICK_LEASE = {"LEASE_SECONDS": "8", "LEASE_RENEW_SECONDS": "2.5", "SHUTDOWN_GRACE_SECONDS": "0.5"}
"""Who kills a worker to see what happens should not have to wait for the 20 s that a fleet wants."""

CHOSEN_HERE = ("api_bind", "ws_bind", "public_ws_url", "redis_url", "aws_endpoint_url", "sqs_queue_url_prefix")
"""Settings that the stack decides on, whatever the environment says."""


@dataclass(frozen=True)
class Plan:
    """The children, and their environment in two parts: what was there, and what another process needs to join them."""

    children: tuple[Child, ...]
    inherited: Mapping[str, str]
    joining: Mapping[str, str]


def uses_real_model(settings: Settings) -> bool:
    """Say whether the developer has named a provider: then the scripted model server is not started."""
    return settings.openai_api_key is not None or "openai_base_url" in settings.model_fields_set


def make(settings: Settings, ports: Ports, state_dir: Path, model_delay: float | None = None) -> Plan:
    """Lay out the whole stack on the given ports, with its state under `state_dir`; `model_delay` is in seconds a token."""
    scripted = not uses_real_model(settings)
    inherited, from_file = _given()
    ours = {
        "CHATAPP_ENV": "development",
        "CHATAPP_ENV_FILE": "",  # read already: a second reading could bring back what is set here
        **twin.aws_env(ports.aws),
        "REDIS_URL": f"redis://{HOST}:{ports.redis}/0",
        "API_BIND": f"{HOST}:{ports.api}",
        "WS_BIND": f"{HOST}:{ports.ws}",
        "PUBLIC_WS_URL": f"ws://{HOST}:{ports.ws}/ws",
        "PYTHONUNBUFFERED": "1",
        **_no_proxy(),
    }
    if not {"lease_seconds", "lease_renew_seconds"} & settings.model_fields_set:
        ours |= QUICK_LEASE
    if not settings.jwt_jwks_url:
        ours["JWT_SECRET"] = settings.signing_secret or DEV_JWT_SECRET
    if scripted:
        ours |= {"OPENAI_BASE_URL": f"http://{HOST}:{ports.llm}/v1", "OPENAI_API_KEY": "scripted"}
        if "llm_model" not in settings.model_fields_set:
            ours |= {"LLM_MODEL": MODELS[0], "LLM_MODELS": ",".join(MODELS[1:])}
    outside = standins.env(settings, ports.partners)
    ours |= outside
    hidden = {*ours, *(f"CHATAPP_{name}" for name in ours), "AWS_PROFILE", "AWS_SESSION_TOKEN"}
    return Plan(
        children=(
            twin.aws(ports.aws, state_dir / "aws"),
            twin.redis(ports.redis, state_dir / "redis"),
            *([twin.model(ports.llm, model_delay)] if scripted else []),
            *([twin.partners(ports.partners)] if standins.needed(outside) else []),
            *processes(ports),
        ),
        inherited={k: v for k, v in inherited.items() if k not in hidden},
        joining={k: v for k, v in from_file.items() if k not in hidden} | ours,
    )


def processes(ports: Ports) -> tuple[Child, ...]:
    """The processes of production, as in the Procfile, and the provisioning before them."""
    python = sys.executable
    return (
        Child("provision", (python, "-m", "chatapp", "provision"), one_shot=True, after=("aws",)),
        Child(
            "api",
            (python, "-m", "gunicorn", "-c", "config/gunicorn_api.py", "chatapp.api:create_app()"),
            probe=http_ok(ports.api, "/health/ready"),
        ),
        Child(
            "ws",
            (python, "-m", "gunicorn", "-c", "config/gunicorn_ws.py", "ws.app:create_app()"),
            probe=http_ok(ports.ws, "/health/live"),
        ),
        _worker("worker", CHAT, slots=500),
        _worker("effects", EFFECTS, slots=100),
    )


def _worker(name: str, queue: Queue, *, slots: int) -> Child:
    options = f"-A tasks worker -Q {queue.name} -P gevent -c {slots} --without-gossip --without-mingle --without-heartbeat"
    return Child(
        name,
        (sys.executable, "-m", "celery", "--quiet", *options.split()),
        ready_line=WORKER_READY,
        after=("provision",),  # it refuses to start on a queue without a redrive policy
        noise=AS_ROOT,
    )


def _given() -> tuple[dict[str, str], dict[str, str]]:
    """Read the environment, and what a .env file adds to it."""
    env_file = os.environ.get("CHATAPP_ENV_FILE", ".env")
    added = {k: v for k, v in dotenv_values(env_file).items() if v is not None and k not in os.environ} if env_file else {}
    return dict(os.environ), added


def _no_proxy() -> dict[str, str]:
    """Keep a proxy of the developer's out of what goes from this machine to itself."""
    given = [os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or "", HOST, "localhost"]
    value = ",".join(filter(None, given))
    return {"NO_PROXY": value, "no_proxy": value}
