"""What all tests share: the tiers by folder, real servers, and the rule for what is missing on this machine.

A missing server or browser skips a test here, with the reason, and fails it in CI, where nothing may be missing.
"""

import itertools
import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from chatapp.dev import ports, twin
from chatapp.dev.ports import free_port
from tests.servers import running
from tests.stack import Stack, started_stack

# Before any module of ours is imported by a test: no test may read a developer's .env.
os.environ["CHATAPP_ENV_FILE"] = ""
for _variable in ("NO_PROXY", "no_proxy"):
    os.environ[_variable] = "127.0.0.1,localhost"

if os.environ.pop("PYTHONDONTWRITEBYTECODE", "") or sys.dont_write_bytecode:
    # Where no bytecode is written (container images like to say so) each of the some 300 processes that the tests start would
    # compile all that it imports, which takes longer than all else it does. So it is written, but not beside the sources.
    sys.dont_write_bytecode = False
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode")

# A port that was found free is taken a moment later. Those of the tests are tried one after the other, each process in a range of
# its own, so that none is found twice meanwhile; stacks choose theirs elsewhere, and in turn.
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
_ports = range(30_000 + 300 * _worker, 30_300 + 300 * _worker)
_begin = random.randrange(len(_ports))
ports.CANDIDATES = itertools.cycle([*_ports[_begin:], *_ports[:_begin]])

# How long an example takes says something of the machine and of who else works on it, and nothing of the code.
settings.register_profile("chatapp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("chatapp")

TIERS = ("unit", "integration", "e2e", "chaos")
LONG = """
    chaos/test_faults integration/test_cuts e2e/test_dev_command integration/test_worker_life e2e/test_page_faults
    integration/test_sqs_outage e2e/test_chat integration/test_worker_alone e2e/test_page_connection integration/test_stopping
    e2e/test_event_source integration/test_security_exhaustion e2e/test_cli e2e/test_page e2e/test_page_answers
    integration/test_drain unit/test_protocol_model integration/test_event_stream integration/test_ws_contract
    integration/test_security_canaries integration/test_breaker integration/test_guarded integration/test_ws_limits
    integration/test_ws_follow unit/test_relay_storm e2e/test_page_safety integration/test_lost_answers integration/test_poison
    integration/test_dev_supervisor integration/test_receiving integration/test_protocol_table integration/test_interview_deaths
    integration/test_stock_transport
""".split()
"""Files that take longer than ten seconds, about the longest first. Begun last, one would be waited for alone."""


def pytest_configure(config: pytest.Config) -> None:
    """Declare a marker for each tier."""
    for tier in TIERS:
        config.addinivalue_line("markers", f"{tier}: set by the folder tests/{tier}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier, and run the fast ones first; among several workers the long files."""
    for item in items:
        if (tier := _tier(item)) is not None:
            item.add_marker(tier)
    items.sort(key=lambda item: TIERS.index(_tier(item) or "unit"))
    if "PYTEST_XDIST_WORKER" in os.environ:
        places = {name: place for place, name in enumerate(LONG)}
        items.sort(key=lambda item: places.get(f"{_tier(item)}/{item.path.stem}", len(LONG)))


def _tier(item: pytest.Item) -> str | None:
    return next((part for part in item.path.relative_to(Path(__file__).parent).parts if part in TIERS), None)


def need(what: str, found: object) -> None:
    """Skip the test when `what` is missing on this machine; in CI fail it."""
    if found:
        return
    message = f"{what} is missing on this machine"
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis server: its URL."""
    try:
        child = twin.redis(port := free_port(), None)
    except twin.NoRedisServerError:
        need("a Redis server", None)
        raise
    with running(child, tmp_path_factory.mktemp("valkey")):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An emulator of SQS and DynamoDB: its endpoint URL. Pass credentials explicitly; any will do."""
    port = free_port()
    with running(twin.aws(port, None), tmp_path_factory.mktemp("aws")):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def model_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The scripted model server, without delay: its base URL, ending in /v1. Counts are at /stats beside it."""
    port = free_port()
    with running(twin.model(port, delay=0), tmp_path_factory.mktemp("llm")):
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture(scope="session")
def partners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The scripted partners (Amadeus, action targets, an inbox): their base URL. What arrived is at /actions and /outbound."""
    port = free_port()
    with running(twin.partners(port), tmp_path_factory.mktemp("partners")):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole stack, as `make run` starts it, but for the pauses between the attempts at a turn that fails."""
    with started_stack(tmp_path_factory.mktemp("stack"), env={"RETRY_SECONDS": "0.5"}) as running_stack:
        yield running_stack


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    need("Chromium", path)
    assert path is not None
    return path
