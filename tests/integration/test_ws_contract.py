"""What is really sent over a socket is what the models, the AsyncAPI document and the docs say; they are held against a run.

    WRITE=1 python -m pytest tests/integration/test_ws_contract.py

writes the transcript in docs/websocket.md and the examples of the AsyncAPI document from the run.
"""

import json
import os
import re
from contextlib import ExitStack
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from chatapp.api.asyncapi import EXAMPLES, document
from chatapp.api.socket_messages import message_id
from chatapp.flows.submit import Submission
from chatapp.model import ModelOptions, text_part
from chatapp.server_frames import FRAME
from chatapp.services import build
from tests.integration import ws_story
from tests.integration.workers import env_of, started
from tests.integration.ws_kit import ws_server

GUIDE = Path(__file__).parents[2] / "docs/websocket.md"
BEGIN, END = "<!-- transcript: written by tests/integration/test_ws_contract.py -->\n", "<!-- end of the transcript -->"
QUESTION = "What is a turn? [[echo=A question and its answer.]] [[delay=0.15]]"


@pytest.fixture(scope="module")
def run(settings, tmp_path_factory):
    """One run of everything: the chapters of the story, and the rest."""
    folder = tmp_path_factory.mktemp("story")
    services = build(settings)
    submission = Submission(user_id=ws_story.USER, input=(text_part(QUESTION),), options=ModelOptions("gpt-5-mini"))
    job_id = services.submit(submission).job_id
    env = {**env_of(settings), "RETRY_SECONDS": "0.1"}
    limits = {"MAX_OUTPUT_TOKENS": "20000", "RATE_LIMIT_REQUESTS": str(ws_story.CHATS), "RATE_LIMIT_SECONDS": "3600"}
    with ExitStack() as stack:
        url = stack.enter_context(ws_server(settings, folder, **limits))
        chapters = ws_story.worked(url, services, job_id, lambda: stack.enter_context(started(env, folder / "worker.log")))
        rest = ws_story.gallery(url, services)
    services.redis.close()
    canon = ws_story.Canon()
    return (
        [(caption, [(who, canon(frame)) for who, frame in lines]) for caption, lines in chapters],
        [(who, canon(frame)) for who, frame in rest],
    )


@pytest.fixture(scope="module")
def lines(run):
    """All of it, in order."""
    chapters, rest = run
    return [line for _, said in chapters for line in said] + rest


@pytest.fixture(scope="module", autouse=True)
def _written(run, lines):
    """Write down what was heard, when that is asked for."""
    if not os.environ.get("WRITE"):
        return
    head, _, tail = GUIDE.read_text().partition(BEGIN)
    GUIDE.write_text(f"{head}{BEGIN}\n{ws_story.render(run[0])}\n{END}{tail.partition(END)[2]}")
    Path(str(EXAMPLES)).write_text(json.dumps(ws_story.examples(lines), indent=1, ensure_ascii=False) + "\n")


def test_nothing_is_sent_that_is_not_described(lines):
    """Every frame of the server fits its model, without a field more."""
    for who, frame in lines:
        if who == "<":
            FRAME.validate_python(frame, extra="forbid")


def test_everything_that_is_described_is_sent(lines, settings):
    """The run has each message of the document, in both directions; so none of them is an invention."""
    seen = {frame["type"] if who == ">" else message_id(type(FRAME.validate_python(frame))) for who, frame in lines}
    assert seen == document(settings)["components"]["messages"].keys()


def test_what_is_sent_fits_the_document(lines, settings):
    """Also as JSON Schema, which is what a reader of the document has."""
    described = document(settings)
    for who, frame in lines:
        name = frame["type"] if who == ">" else message_id(type(FRAME.validate_python(frame)))
        payload = described["components"]["messages"][name]["payload"]
        assert Draft7Validator({**described, "allOf": [payload]}).is_valid(frame) == (frame != ws_story.WRONG), frame


def test_the_examples_are_real(lines):
    """Each has the fields that a frame of the run has."""
    kept, now = json.loads(EXAMPLES.read_text()), ws_story.examples(lines)
    assert kept.keys() == now.keys()
    for name, frames in kept.items():
        assert {*map(ws_story.shape, frames)} <= {*map(ws_story.shape, now[name])}


def test_the_transcript_of_the_docs_is_real(run):
    """The same frames, in the same order, with the same fields; how often an answer is cut into pieces may differ."""
    text = GUIDE.read_text()
    shown = text[text.index(BEGIN) : text.index(END)]
    assert re.findall(r"^\w.*", shown, re.MULTILINE) == [caption for caption, _ in run[0] if caption]
    now = ws_story.read(ws_story.render(run[0]))
    assert list(ws_story.told(ws_story.read(shown))) == list(ws_story.told(now))
