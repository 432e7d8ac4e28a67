"""The HTTP edge: Flask, one blueprint per noun. A view is parse -> one call -> shape."""

from functools import partial

from flask import Flask

from chatapp import logs, problems
from chatapp.api import (
    actions,
    chat,
    edge,
    events,
    health,
    jobs,
    live,
    operating,
    operations,
    pages,
    sessions,
    states,
    webhooks,
)
from chatapp.services import Services, build
from config import settings


def create_app(services: Services | None = None) -> Flask:
    """Make the API. Opens no connection. `services` is for tests; without it the settings of the environment are used.

    Raises: config.settings.SettingsError.
    """
    if services is None:
        services = build(settings.load())
        logs.set_up(services.settings.log_level)
    app = Flask(__name__, static_folder=None)
    app.extensions["chatapp"] = services
    # Werkzeug cuts a chunked body at the limit without a word: one byte more tells a full body from a cut one (body.py).
    app.config["MAX_CONTENT_LENGTH"] = services.settings.max_body_bytes + 1
    app.url_map.merge_slashes = False  # `//chat` is no other name for `/chat`
    problems.install(app)
    edge.install(app, services.settings)
    for noun in (chat, jobs, events, live, sessions, states, actions, webhooks, operating, health, pages):
        app.register_blueprint(noun.bp)
    operations.check(app)
    app.extensions["drain"] = partial(_release, services)  # config/gunicorn_worker.py calls it
    _ = services.submit  # clients are made now, without connecting: the first request of a process is not the slow one
    return app


def _release(services: Services) -> None:
    """Let go of everything that waits: the process stops."""
    services.until_ended.release()
    services.feeds.release()
