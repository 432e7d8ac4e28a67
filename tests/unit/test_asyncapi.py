"""The description of the socket is valid, whole, and agrees with the code."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from pydantic import ValidationError

from chatapp import payloads
from chatapp.api import create_app
from chatapp.api.openapi import VERSION
from chatapp.api.socket_messages import ANSWERS
from chatapp.frames import Frame
from chatapp.model import EventId, Status, Usage
from chatapp.server_events import Said
from chatapp.server_frames import FRAME
from tests.fakes import SECRET, fake_services
from tests.unit.test_payloads import ENDED as ENDED_IN_S

OFFICIAL = Path(__file__).parents[1] / "schemas/asyncapi-3.0.0.json"


@pytest.fixture(scope="module")
def app():
    """An app over fakes, with limits of its own."""
    return create_app(
        fake_services(
            public_ws_url="wss://ws.example.org/live/ws", ws_max_payload=9_999, max_message_chars=777, llm_models="other"
        )
    )


@pytest.fixture(scope="module")
def document(app):
    """The description."""
    return app.test_client().get("/asyncapi.json").json


def references(value):
    """Every `$ref` within a value."""
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else ())
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def at(document, reference):
    """What a reference leads to."""
    found = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def payload(document, name):
    """A validator of one message."""
    return Draft7Validator({**document, "allOf": [document["components"]["messages"][name]["payload"]]})


def test_the_official_schema_accepts_it(document):
    """AsyncAPI's own JSON Schema of version 3.0.0 is the judge; and it is one that can say no."""
    judge = Draft7Validator(json.loads(OFFICIAL.read_text()))
    assert [f"{list(error.path)}: {error.message}" for error in judge.iter_errors(document)] == []
    socket = document["channels"]["socket"]
    for wrong in (
        {"info": {}},
        {"channels": {"socket": {**socket, "adress": "/"}}},
        {"operations": {"x": {"action": "publish"}}},
    ):
        assert not judge.is_valid({**document, **wrong})


def test_every_reference_leads_somewhere(document):
    """None dangles, and no message or schema stands there that nobody uses."""
    used = set(references(document))
    assert all(at(document, reference) for reference in used)
    for kind in ("messages", "schemas", "securitySchemes"):
        assert {f"#/components/{kind}/{name}" for name in document["components"][kind]} <= used
    named = {f"#/channels/socket/messages/{name}" for name in document["channels"]["socket"]["messages"]}
    assert named <= used


def test_it_says_where_the_socket_is_and_what_it_allows(document):
    """Address, ways to sign in, limits and close codes are those of the settings and of the code."""
    server, socket = document["servers"]["websocket"], document["channels"]["socket"]
    assert (server["protocol"], server["host"], socket["address"]) == ("wss", "ws.example.org", "/live/ws")
    assert {at(document, way["$ref"])["type"] for way in server["security"]} == {"http", "httpApiKey"}
    assert "first frame `auth`" in server["description"]
    assert socket["bindings"]["ws"]["query"]["properties"].keys() == {"ticket"}
    assert socket["x-limits"]["frame_bytes"] == 9_999
    schemas = document["components"]["schemas"]
    assert "9999" in schemas["Connected"]["properties"]["max_payload"]["description"]
    assert schemas["Chat"]["properties"]["message"]["oneOf"][0]["maxLength"] == 777
    assert schemas["Chat"]["properties"]["model"]["enum"] == ["gpt-5-mini", "other", None]
    assert "connection_id" not in schemas["Chat"]["properties"]


def test_actions_are_those_of_the_server(document):
    """It receives each frame that its reader knows, and replies as is said or with `refused`; the rest it sends."""
    received = {name: op for name, op in document["operations"].items() if op["action"] == "receive"}
    assert set(ANSWERS) == set(Frame.__args__)
    assert received.keys() == {model.model_fields["type"].annotation.__args__[0] for model in ANSWERS}
    for name, operation in received.items():
        assert operation["messages"] == [{"$ref": f"#/channels/socket/messages/{name}"}]
        assert operation["reply"]["messages"][-1] == {"$ref": "#/channels/socket/messages/refused"}
        schema = at(document, document["components"]["messages"][name]["payload"]["$ref"])
        assert schema["additionalProperties"] is False
    assert all(op["action"] == "send" for name, op in document["operations"].items() if name not in received)


def test_every_example_fits_its_message_and_no_other(document):
    """As AsyncAPI asks of a channel: what is sent over it is one of its messages, and one only."""
    for name, message in document["components"]["messages"].items():
        assert message["examples"]
        for example in message["examples"]:
            fitting = [
                other for other in document["components"]["messages"] if payload(document, other).is_valid(example["payload"])
            ]
            assert fitting == [name]


def test_what_the_document_refuses_the_reader_refuses(document):
    """An id of another form, a cursor that is none, a field too many."""
    session = "0" * 32
    for wrong in ({"session_id": session + "0"}, {"session_id": session, "log_after": "1"}, {"session_id": session, "more": 1}):
        assert not payload(document, "subscribe").is_valid({"type": "subscribe", **wrong})


ENDED = replace(ENDED_IN_S, session_id="a" * 32)
BIG = "é" * payloads.MAX_EVENT_TEXT


@pytest.mark.parametrize(
    "turn",
    [
        ENDED,
        replace(ENDED, answer=BIG),
        replace(ENDED, usage=None),
        replace(ENDED, usage=Usage(1, 2, 3, 4, estimated=True)),
        replace(ENDED, status=Status.CANCELLED, answer="half"),
        replace(ENDED, status=Status.CANCELLED, answer=None, usage=None, end_id=EventId(1, 0)),
        replace(ENDED, status=Status.CANCELLED, answer=BIG),
        replace(ENDED, status=Status.FAILED, error={"code": "expired", "message": "too late", "retryable": True}),
    ],
)
def test_every_end_that_can_be_made_is_described(document, turn):
    """Completed, cancelled and failed; short, long, empty; with and without what it cost."""
    end = json.loads(payloads.encode(payloads.terminal_event(turn)))
    FRAME.validate_python(end, extra="forbid")
    payload(document, end["type"]).validate(end)


def test_clients_of_the_models_ignore_what_they_do_not_know():
    """A later server may say more; the models refuse it only when they are told to."""
    frame = {"type": "pong", "id": 1, "since": "tomorrow"}
    assert isinstance(FRAME.validate_python(frame), Said)
    with pytest.raises(ValidationError, match="since"):
        FRAME.validate_python(frame, extra="forbid")


def test_the_two_descriptions_and_the_guide_lead_to_each_other(app, document):
    """OpenAPI, AsyncAPI and the guide; whoever finds one finds the others."""
    client = app.test_client()
    openapi = client.get("/openapi.json").json
    assert "/openapi.json" in document["info"]["description"]
    assert "/docs/websocket" in document["info"]["description"]
    assert "/asyncapi.json" in openapi["externalDocs"]["description"]
    assert document["info"]["version"] == VERSION == openapi["info"]["version"]
    with client.get("/docs") as page, client.get(openapi["externalDocs"]["url"]) as guide:
        for shown in (page, guide):
            assert b'href="/asyncapi.json"' in shown.data
            assert b'href="/docs/websocket"' in shown.data
    with client.get("/docs/websocket.md") as text:
        assert (text.mimetype, text.data[:15]) == ("text/markdown", b"# The WebSocket")


@pytest.mark.parametrize(
    "path", ["/docs/operating", "/docs/operating.md", "/docs/nothing.md", "/docs/..%2fREADME.md", "/docs/.md"]
)
def test_only_the_guides_for_clients_are_shown(app, path):
    """What else lies in the folder is no page."""
    answer = app.test_client().get(path)
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_the_document_holds_no_secret(app):
    """It is public."""
    assert SECRET not in app.test_client().get("/asyncapi.json").text
