"""The chat page, the API's description and its browser. All of it public, all of it from here: no other host is asked."""

from pathlib import Path

from flask import Blueprint, Response, current_app, json, send_from_directory

from chatapp.api.answers import AppConfig, FlowView
from chatapp.api.asyncapi import document as describe_socket
from chatapp.api.context import services
from chatapp.api.edge import page_policy
from chatapp.api.openapi import document
from chatapp.api.operations import operation
from chatapp.api.replies import reply
from chatapp.auth import issue
from chatapp.errors import NotFound

bp = Blueprint("pages", __name__)

STATIC = Path(__file__).with_name("static")
GUIDES = Path(__file__).parents[2] / "docs"
FOR_CLIENTS = ("websocket", "events-over-http", "sessions", "webhooks", "client", "errors")
"""The guides that are shown to who writes a client."""

DEV_USER = "demo"
DEV_TOKEN_SECONDS = 12 * 3_600


@bp.get("/")
@operation(answers={200: "text/html"}, public=True)
def index() -> Response:
    """Open the chat page."""
    return _page("index.html")


@bp.get("/docs")
@operation(answers={200: "text/html"}, public=True)
def docs() -> Response:
    """Browse this description."""
    return _page("docs/index.html")


@bp.get("/docs/<name>")
@operation(answers={200: "text/html"}, errors=(NotFound,), public=True)
def guide(name: str) -> Response:
    """Read a guide of the documentation."""
    _need_guide(name)
    return _page("docs/guide.html")


@bp.get("/docs/<name>.md")
@operation(answers={200: "text/markdown"}, errors=(NotFound,), public=True)
def guide_text(name: str) -> Response:
    """Fetch a guide of the documentation."""
    _need_guide(name)
    return send_from_directory(GUIDES, f"{name}.md", mimetype="text/markdown")


@bp.get("/static/<path:name>")
@operation(answers={200: "application/octet-stream"}, public=True)
def static(name: str) -> Response:
    """Fetch a file of the pages."""
    return _page(name)


@bp.get("/openapi.json")
@operation(answers={200: "application/json"}, public=True)
def openapi() -> Response:
    """Read this description (OpenAPI 3.1)."""
    made = current_app.extensions
    if "openapi" not in made:  # the same for the life of the process, and not cheap to make
        made["openapi"] = json.dumps(document(current_app, services().settings))
    return Response(made["openapi"], mimetype="application/json")


@bp.get("/asyncapi.json")
@operation(answers={200: "application/json"}, public=True)
def asyncapi() -> Response:
    """Read the description of the WebSocket (AsyncAPI 3.0)."""
    made = current_app.extensions
    if "asyncapi" not in made:
        made["asyncapi"] = json.dumps(describe_socket(services().settings))
    return Response(made["asyncapi"], mimetype="application/json")


@bp.get("/app-config")
@operation(answers={200: AppConfig}, public=True)
def app_config() -> Response:
    """Read what the chat page needs to begin."""
    settings = services().settings
    flows = [FlowView(name=flow.name, opens=flow.opens) for flow in services().flows.values()]
    config = AppConfig(ws_url=settings.public_ws_url, models=list(settings.models), flows=flows, dev_token=_dev_token())
    return reply(config, nulls=True)


def _need_guide(name: str) -> None:
    if name not in FOR_CLIENTS or not (GUIDES / f"{name}.md").is_file():
        raise NotFound


def _dev_token() -> str | None:
    """Sign the page in by itself, on a developer's machine only."""
    settings = services().settings
    if settings.env != "development" or settings.signing_secret is None:
        return None
    return issue(
        settings.signing_secret, DEV_USER, seconds=DEV_TOKEN_SECONDS, issuer=settings.jwt_issuer, audience=settings.jwt_audience
    )


def _page(name: str) -> Response:
    response = send_from_directory(STATIC, name)  # kept by browsers, asked again each time (ETag)
    response.headers["Content-Security-Policy"] = page_policy(services().settings)
    return response
