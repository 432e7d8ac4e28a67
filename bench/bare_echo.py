"""The baseline of `bench.sockets`: the echo of flask-sock's own documentation."""

from typing import Any

from flask import Flask
from flask_sock import Sock


def create_app() -> Flask:
    """Make the app."""
    app = Flask(__name__, static_folder=None)

    @Sock(app).route("/ws")  # type: ignore[untyped-decorator]
    def echo(ws: Any) -> None:
        while True:
            ws.send(ws.receive())

    @app.get("/health/live")
    def live() -> dict[str, str]:
        return {"status": "UP"}

    return app
