"""What `python -m chatapp dev` would start, on which ports and with which variables."""

import shlex
import socket
import sys
from pathlib import Path

import pytest

from chatapp.dev import plan, state
from chatapp.dev.ports import Ports, free_port, is_free, settle
from chatapp.dev.process import ROOT
from chatapp.flows.registry import OURS
from config.settings import Settings, load, variables


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting from outside."""
    for name in variables():
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"CHATAPP_{name}", raising=False)


def made(tmp_path: Path) -> plan.Plan:
    """The plan for the environment of now."""
    return plan.make(load(), Ports(), tmp_path)


def test_the_processes_are_those_of_the_procfile() -> None:
    """Development runs what production runs, letter by letter."""
    lines = (line.partition(":") for line in (ROOT / "Procfile").read_text().splitlines())
    procfile = {name: shlex.split(command)[1:] for name, _, command in lines}
    ours = {child.name: list(child.command[1:]) for child in plan.processes(Ports())}
    assert ours == {"provision": procfile["release"], "api": procfile["web"]} | {
        k: procfile[k] for k in ("ws", "worker", "effects")
    }
    assert {child.command[0] for child in plan.processes(Ports())} == {sys.executable}


def test_without_a_key_the_scripted_model_answers(tmp_path: Path) -> None:
    """Nothing is needed to begin."""
    laid_out = made(tmp_path)
    assert "llm" in [c.name for c in laid_out.children]
    assert laid_out.joining["OPENAI_BASE_URL"] == "http://127.0.0.1:8002/v1"


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "CHATAPP_OPENAI_API_KEY", "OPENAI_BASE_URL"])
def test_a_real_model_is_used_when_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A key, or the address of some other server, takes the place of the scripted one."""
    monkeypatch.setenv(name, "https://example.com/v1")
    laid_out = made(tmp_path)
    assert "llm" not in [c.name for c in laid_out.children]
    assert laid_out.inherited[name] == "https://example.com/v1"
    assert "OPENAI_BASE_URL" not in laid_out.joining


def test_what_the_twin_needs_wins_over_what_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real credentials and addresses of the developer never reach the children, in whichever form they were written."""
    monkeypatch.setenv("CHATAPP_REDIS_URL", "redis://production:6379/0")
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "real")
    laid_out = made(tmp_path)
    together = {**laid_out.inherited, **laid_out.joining}
    assert together["REDIS_URL"] == "redis://127.0.0.1:6390/0"
    assert not {"CHATAPP_REDIS_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"} & set(together)
    assert together["AWS_ACCESS_KEY_ID"] == "local"


def test_a_dotenv_file_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in .env is read once and given to all, and to whoever joins."""
    (tmp_path / "env").write_text("LLM_MODEL=mine\nREDIS_URL=redis://elsewhere/0\n")
    monkeypatch.setenv("CHATAPP_ENV_FILE", str(tmp_path / "env"))
    laid_out = made(tmp_path)
    assert laid_out.joining["LLM_MODEL"] == "mine"
    assert laid_out.joining["REDIS_URL"] == "redis://127.0.0.1:6390/0"
    assert laid_out.joining["CHATAPP_ENV_FILE"] == ""


def test_a_taken_port_is_replaced() -> None:
    """What is free is kept; what is taken, wanted twice or 0 becomes a free port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken, kept = other.getsockname()[1], free_port()
        ports = settle(Ports(api=kept, ws=taken, llm=kept, redis=0, aws=0))
    assert ports.api == kept
    chosen = {ports.ws, ports.llm, ports.redis, ports.aws}
    assert len(chosen) == 4
    assert not chosen & {taken, kept, 0}
    assert all(is_free(port) for port in chosen)


def test_queues_are_made_anew_when_the_port_changes(tmp_path: Path) -> None:
    """The emulator's queues know only their old address, so they go; the tables stay."""
    (tmp_path / "aws").mkdir()
    for name in ("sqs.json", "dynamodb.json"):
        (tmp_path / "aws" / name).write_text("{}")
    state.remember_aws_port(tmp_path, 1)
    state.remember_aws_port(tmp_path, 1)
    assert (tmp_path / "aws" / "sqs.json").exists()
    state.remember_aws_port(tmp_path, 2)
    assert state.last_aws_port(tmp_path) == 2
    assert [p.name for p in (tmp_path / "aws").iterdir()] == ["dynamodb.json"]


def test_fresh_removes_only_what_is_ours(tmp_path: Path) -> None:
    """`--fresh` on a folder that holds something else leaves that alone."""
    (tmp_path / "aws").mkdir()
    (tmp_path / "thesis.txt").write_text("x")
    state.clear(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_scripted_partners_stand_for_what_is_outside(tmp_path: Path) -> None:
    """Travel API, targets of actions and the inbox for replies are there; every flow of ours can be begun."""
    laid_out = made(tmp_path)
    assert "partners" in [c.name for c in laid_out.children]
    settings = Settings.model_validate({name.lower(): value for name, value in laid_out.joining.items()})
    assert settings.amadeus_base_url == "http://127.0.0.1:8003"
    assert str(settings.action_urls["clinical_note"]) == "http://127.0.0.1:8003/actions/clinical_note"
    assert settings.action_urls["finish_shift"].status_url == "http://127.0.0.1:8003/actions/finish_shift/status"
    assert settings.outbound_webhook_url == "http://127.0.0.1:8003/outbound"
    assert set(settings.flows) == set(OURS)
    assert settings.callback_private


def test_what_the_developer_has_set_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With services of one's own for everything, no partner is started."""
    mine = {
        "AMADEUS_BASE_URL": "https://test.api.amadeus.com",
        "AMADEUS_CLIENT_ID": "mine",
        "AMADEUS_CLIENT_SECRET": "mine",
        "CHATAPP_ACTION_URLS": '{"clinical_note": "https://example.com/"}',
        "OUTBOUND_WEBHOOK_URL": "https://example.com/inbox",
        "FLOWS": "chat",
    }
    for name, value in mine.items():
        monkeypatch.setenv(name, value)
    laid_out = made(tmp_path)
    assert "partners" not in [c.name for c in laid_out.children]
    assert {**laid_out.inherited, **laid_out.joining}.items() >= mine.items()
