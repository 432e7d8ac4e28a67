"""`python -m chatapp dev`, as `make run` starts it: the real emulators and the real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from tests.servers import clean_env
from tests.stack import ANY_PORTS, ROOT, Stack, dev_command, started_stack, stop_stack, wait_for_ready


def start(folder: Path, *options: str, env: dict[str, str] | None = None) -> "subprocess.Popen[bytes]":
    """Start a stack, without waiting."""
    with (folder / "dev.log").open("ab") as log:
        return subprocess.Popen(
            dev_command(folder, *options), cwd=ROOT, env=clean_env(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def ready(folder: Path, process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """Wait until it is ready."""
    return wait_for_ready(process, folder / "ready.json", folder / "dev.log")


def family(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """A stack's supervisor and everything below it."""
    top = psutil.Process(process.pid)
    return [top, *top.children(recursive=True)]


def answered(api: str, token: str, text: str) -> dict[str, Any]:
    """Post a message and wait for its answer."""
    with httpx2.Client(base_url=api, headers={"Authorization": f"Bearer {token}"}, timeout=30) as http:
        posted = http.post("/chat", json={"message": text})
        assert posted.status_code == 202, posted.text
        job: dict[str, Any] = http.get(f"/jobs/{posted.json()['job_id']}", params={"wait": 20}).json()
    assert job["status"] == "completed", job
    return job


def test_a_message_is_answered(stack: Stack) -> None:
    """Once the ready file is there, a message gets its answer."""
    assert answered(stack.api, stack.token, "[[echo=it works]]")["session_id"]
    assert httpx2.get(f"{stack.api}/").status_code == 200


def test_it_says_where_everything_is(stack: Stack) -> None:
    """The printed table holds the page, a ready-to-paste curl and the way to a real model."""
    log = stack.log()
    assert f"page           {stack.api}/" in log
    assert f"curl -s {stack.api}/chat" in log
    assert stack.token in log
    assert "OPENAI_API_KEY" in log
    assert "deliveries" in httpx2.get(f"{stack.partners}/outbound").json()
    assert f"replies sent   {stack.partners}/outbound" in log
    assert set(stack.pids()) == {"aws", "redis", "llm", "partners", "api", "ws", "worker", "effects"}


def test_the_printed_curl_works(stack: Stack) -> None:
    """The command can be pasted as it stands."""
    lines = stack.log().splitlines()
    first = next(i for i, line in enumerate(lines) if "curl -s" in line)
    command = lines[first].strip().removesuffix("\\") + lines[first + 1].strip()
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=30)
    assert json.loads(answer.stdout)["status"] == "queued"


def test_another_process_can_join(stack: Stack) -> None:
    """The ready file's `env` is all that a command of ours needs."""
    check = [sys.executable, "-m", "chatapp", "provision", "--check"]
    joined = subprocess.run(check, cwd=ROOT, env=stack.full_env(), capture_output=True, text=True, check=False, timeout=60)
    assert joined.returncode == 0, joined.stdout + joined.stderr


def test_a_killed_worker_comes_back(stack: Stack) -> None:
    """After `kill -9` the worker is started again and answers."""
    before, said = stack.pids()["worker"], "worker is ready again"
    times = stack.log().count(said)
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while stack.log().count(said) == times:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert stack.pids()["worker"] != before
    assert answered(stack.api, stack.token, "[[echo=back]]")["status"] == "completed"


def test_two_stacks_side_by_side(stack: Stack, tmp_path: Path) -> None:
    """A second stack, told to use ports of the first, takes free ones and says so; it has its own data and disturbs nobody."""
    taken = str(urlsplit(stack.api).port)
    with started_stack(tmp_path, "--api-port", taken, "--aws-port", str(urlsplit(stack.aws).port)) as second:
        assert len({stack.api, stack.aws, stack.redis, stack.llm, second.api, second.aws, second.redis, second.llm}) == 8
        assert f"port {taken} is taken" in second.log()
        mine = answered(second.api, second.token, "[[echo=second]]")
        headers = {"Authorization": f"Bearer {stack.token}"}
        assert httpx2.get(f"{stack.api}/sessions/{mine['session_id']}", headers=headers).status_code == 404
    assert answered(stack.api, stack.token, "[[echo=first]]")["status"] == "completed"


@pytest.mark.timeout(240)  # three starts of the whole stack
def test_state_outlives_a_restart_and_is_forgotten_when_fresh(tmp_path: Path) -> None:
    """Sessions are there after Ctrl-C and a new start, also when the ports had to change; `--fresh` begins anew."""
    process = start(tmp_path, "--fresh", *ANY_PORTS)
    try:
        told = ready(tmp_path, process)
        session = answered(told["api"], told["token"], "[[echo=remember]]")["session_id"]
    finally:
        assert stop_stack(process) == 0
    for options, status in ((ANY_PORTS, 200), (("--fresh", *ANY_PORTS), 404)):
        process = start(tmp_path, *options)
        try:
            told = ready(tmp_path, process)
            headers = {"Authorization": f"Bearer {told['token']}"}
            found = httpx2.get(f"{told['api']}/sessions/{session}/conversation", headers=headers)
            assert found.status_code == status
            assert answered(told["api"], told["token"], "[[echo=go on]]")["status"] == "completed"
        finally:
            assert stop_stack(process) == 0


def test_it_stops_soon_and_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle of an answer ends every process, and the ready file goes."""
    process = start(tmp_path, "--fresh", *ANY_PORTS)
    try:
        told = ready(tmp_path, process)
        headers = {"Authorization": f"Bearer {told['token']}"}
        httpx2.post(f"{told['api']}/chat", json={"message": "[[tokens=1000]] [[delay=0.1]]"}, headers=headers).raise_for_status()
        everyone = family(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        stop_stack(process)
    assert not [p for p in everyone if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not (tmp_path / "ready.json").exists()


def test_wrong_settings_stop_it_before_anything_starts(tmp_path: Path) -> None:
    """All that is wrong is listed, and nothing was started."""
    process = start(tmp_path, env={"RATE_LIMIT_REQUESTS": "many", "JWT_SECRET": "short"})
    assert process.wait(20) != 0
    log = (tmp_path / "dev.log").read_text()
    assert "RATE_LIMIT_REQUESTS" in log
    assert "JWT_SECRET" in log
    assert "|" not in log
