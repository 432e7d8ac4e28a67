"""The examples of docs/webhooks.md work as they are printed."""

import json
import re
import shutil
import subprocess

import pytest

from chatapp.incoming.signature import sign
from config.settings import DEV_WEBHOOK_SECRET
from tests.conftest import need
from tests.integration.webhook_kit import gateway
from tests.servers import clean_env
from tests.stack import ROOT


@pytest.fixture(scope="module")
def incoming():
    """The half of the page that is about what comes in."""
    return (ROOT / "docs/webhooks.md").read_text().partition("## Incoming")[2].partition("## Outgoing")[0]


def example(text, language):
    """The first example in a language."""
    return re.search(f"```{language}\n(.*?)```", text, re.DOTALL)[1]


def test_the_example_for_the_shell_is_accepted(settings, services, tmp_path, incoming):
    """With the secret that development has by itself."""
    for tool in ("bash", "curl", "openssl"):
        need(tool, shutil.which(tool))
    with gateway(settings, tmp_path, WEB_WORKERS="1") as api:
        env = clean_env({"API": f"http://127.0.0.1:{api.port}"})
        ran = subprocess.run(["bash", "-c", example(incoming, "bash")], env=env, capture_output=True, check=True, timeout=60)
        answer = json.loads(ran.stdout)
    assert answer["status"] == "queued", answer
    assert services.sessions.get(answer["session_id"]).contact == "+5511999999999"


def test_the_example_in_python_signs(incoming):
    """As the server does."""
    names = {}
    exec(example(incoming, "python"), names)  # noqa: S102  ours
    body = "cheguei 🏥".encode()
    assert names["signature"](DEV_WEBHOOK_SECRET, body) == sign(DEV_WEBHOOK_SECRET.encode(), body)
