"""The repository agrees with itself: queues, settings, error codes, event types, layers."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import chatapp.errors
from chatapp import payloads
from chatapp.api.asyncapi import document
from chatapp.api.socket_messages import ANSWERS, EVENTS, UNASKED, type_of
from chatapp.errors import ChatappError, StopAttempt
from chatapp.frames import Frame
from chatapp.server_frames import Refused
from config.resources import QUEUES
from config.settings import Settings, variables
from tests.servers import clean_env
from ws.protocol import Close

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("package", ["chatapp", "tasks", "ws", "config"])
def test_our_packages_are_ours(package):
    """Generic names exist on the package index too: from the root, ours win."""
    where = "import importlib.util, sys; print(importlib.util.find_spec(sys.argv[1]).origin)"
    found = subprocess.run([sys.executable, "-c", where, package], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).parent == ROOT / package


def test_the_procfile_starts_what_make_run_starts():
    """Web, ws, both kinds of worker and the release step."""
    kinds = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines() if line)
    assert set(kinds) == {"web", "ws", "worker", "effects", "release"}
    assert all("-A tasks" in kinds[kind] for kind in ("worker", "effects"))


def test_every_queue_has_a_consumer_in_the_procfile():
    """A queue that nobody reads would keep its messages for ever; two queues in one process would hold each other up."""
    named = re.findall(r"-A tasks worker -Q (\S+)", (ROOT / "Procfile").read_text())
    assert sorted(named) == sorted(q.name for q in QUEUES)


def test_every_setting_is_documented():
    """In the table of README.md and in .env.example, and nothing else is."""
    table = set(re.findall(r"^\| `([A-Z_]+)`", (ROOT / "README.md").read_text(), re.MULTILINE))
    example = set(re.findall(r"^#? ?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert table == set(variables())
    assert example <= set(variables()) | {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert all(field.description for field in Settings.model_fields.values())


def all_errors():
    return [e for e in vars(chatapp.errors).values() if isinstance(e, type) and issubclass(e, ChatappError)]


def test_every_error_code_is_documented():
    """Clients branch on codes."""
    text = (ROOT / "docs/errors.md").read_text()
    missing = [e.code for e in all_errors() if not issubclass(e, StopAttempt) and f"`{e.code}`" not in text]
    assert missing == []


def told_of(heading):
    """The first word of each row of a table of docs/websocket.md: frames, types, codes."""
    section = (ROOT / "docs/websocket.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `?(\w+)", section, re.MULTILINE)[1:]


def types_of(models):
    """The types of frames, without doubles."""
    return sorted({type_of(model) for model in models})


def test_every_event_type_is_documented():
    """Clients branch on types too: the models, the docs and the AsyncAPI document name those that are made, and no other."""
    made = payloads.OPENING | payloads.TERMINAL | {payloads.DELTA, payloads.RETRYING, "notice"}
    made |= {"action_requested", "action_updated", "action_executed", "profile_updated"}
    assert sorted(told_of("Events")) == types_of(EVENTS) == sorted(made)
    assert made <= document(Settings(_env_file=None))["components"]["messages"].keys()


def test_every_frame_is_documented():
    """What clients may send and what they are sent, in the docs and in the AsyncAPI document; nothing else stands there."""
    from_clients, answers = types_of(ANSWERS), {model for models in ANSWERS.values() for model in models}
    from_server = types_of(answers | {Refused} | {model for models, _ in UNASKED.values() for model in models} - set(EVENTS))
    assert set(ANSWERS) == set(get_args(Frame))
    assert sorted(told_of("Frames of the client")) == from_clients
    assert sorted(told_of("Frames of the server")) == from_server
    messages = document(Settings(_env_file=None))["components"]["messages"].values()
    assert {m["name"] for m in messages} == {*from_clients, *from_server, *types_of(EVENTS)}


def test_every_close_code_is_documented():
    """Those that we choose, and those of RFC 6455 that the libraries beneath us send."""
    documented = [c["code"] for c in document(Settings(_env_file=None))["channels"]["socket"]["x-close-codes"]]
    assert list(map(int, told_of("Close codes"))) == documented
    of_the_protocol = {1001, 1002, 1007, 1008, 1009}
    assert set(documented) == set(Close) | of_the_protocol


def test_nothing_names_a_package_index():
    """The pinned requirements install from whatever index the machine is set up for."""
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--hash=sha256:" in text


def test_each_hop_says_which_one_it_is():
    """The eight modules on the path of a message, as docs/path-of-a-message.md names them."""
    path = (ROOT / "docs/path-of-a-message.md").read_text()
    hops = {}
    for file in [*ROOT.glob("chatapp/**/*.py"), *ROOT.glob("tasks/*.py"), *ROOT.glob("ws/*.py")]:
        if match := re.match(r'"""Hop (\d) of 8', file.read_text()):
            hops[int(match[1])] = str(file.relative_to(ROOT))
    assert sorted(hops) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [f for f in hops.values() if f"`{f}`" not in path] == []


def test_the_api_does_not_import_the_models_sdk():
    """It takes a second to import: only workers pay for it."""
    code = "import sys, chatapp.api, ws.app; sys.exit('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_worker_of_effects_does_not_import_the_models_sdk():
    """It asks no model; an idle one stays small."""
    code = "import sys, tasks.effects; tasks.effects.services.effect_runner; sys.exit('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=clean_env(), check=False).returncode == 0


def test_every_module_of_ours_can_be_imported_alone():
    """No import cycles that only work in one order."""
    for name in ("chatapp.services", "chatapp.api", "ws.app", "chatapp.cli", "chatapp.queue", "chatapp.live.events"):
        importlib.import_module(name)
