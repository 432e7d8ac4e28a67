"""The description is whole, and true."""

import re
import tomllib
from pathlib import Path

import pytest

from chatapp import errors
from chatapp.api import create_app
from chatapp.api.openapi import path_of
from tests.fakes import bearer, fake_services

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def app():
    """An app over fakes."""
    return create_app(fake_services(llm_models="other"))


@pytest.fixture(scope="module")
def document(app):
    """Its description."""
    return app.test_client().get("/openapi.json").json


def operations(document):
    """Every operation with its path and method."""
    return [(path, method, op) for path, ops in document["paths"].items() for method, op in ops.items()]


def test_every_route_is_described(app, document):
    """Route by route and method by method."""
    routes = {(path_of(r), m.lower()) for r in app.url_map.iter_rules() for m in r.methods - {"HEAD", "OPTIONS"}}
    assert {(path, method) for path, method, _ in operations(document)} == routes


def test_every_reference_leads_somewhere(document):
    """No dangling `$ref`, and no schema that nobody uses."""

    def references(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                if key == "$ref":
                    yield inner
                else:
                    yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    used = {r.rpartition("/")[2] for r in references(document)}
    assert used == document["components"]["schemas"].keys()


def test_operations_are_named_once_and_complete(document):
    """Ids are unique, path variables are declared, and each route says its answers and whether it needs a token."""
    found = operations(document)
    assert document["openapi"] == "3.1.0"
    assert document["info"]["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert len({op["operationId"] for _, _, op in found}) == len(found)
    for path, _, op in found:
        declared = {p["name"] for p in op["parameters"] if p["in"] == "path"}
        assert declared == set(re.findall(r"{(.*?)}", path))
        assert op["summary"]
        assert ("401" in op["responses"]) == (op.get("security") != [])
        assert all(answer["description"] for answer in op["responses"].values())


def test_limits_that_are_settings_are_told(document):
    """The models, the longest message and the most tokens."""
    chat = document["components"]["schemas"]["ChatRequest"]
    assert chat["additionalProperties"] is False
    assert chat["properties"]["model"]["enum"] == ["gpt-5-mini", "other", None]
    assert chat["properties"]["message"]["oneOf"][0]["maxLength"] == 32_000


def test_answers_have_the_fields_that_are_described(app, document):
    """What comes is what was said."""
    schemas = document["components"]["schemas"]
    client = app.test_client()
    accepted = client.post("/chat", json={"message": "hello"}, headers=bearer()).json
    job = client.get(accepted["links"]["self"], headers=bearer()).json
    problem = client.get("/jobs/x", headers=bearer()).json
    for answer, name in ((accepted, "AcceptedView"), (job, "JobView"), (problem, "Problem")):
        assert set(schemas[name]["required"]) <= answer.keys() <= schemas[name]["properties"].keys()


def test_every_code_is_in_the_docs():
    """docs/errors.md lists what a client may meet, with its status."""
    text = (ROOT / "docs" / "errors.md").read_text()

    def tree(kind):
        yield kind
        for sub in kind.__subclasses__():
            yield from tree(sub)

    def row(kind):
        retryable = "yes" if kind.retryable else "no"
        status = "" if issubclass(kind, errors.TurnError) else f" {kind.http_status} |"
        return f"| `{kind.code}` |{status} {retryable} |"

    hidden = {*tree(errors.StopAttempt), errors.Refused}
    missing = [row(kind) for kind in tree(errors.ChatappError) if kind not in hidden and row(kind) not in text]
    assert missing == []
