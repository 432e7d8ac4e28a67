"""The worker of ours with a way out as simple as can be: one request a call, no signature."""

import json
from http.client import HTTPConnection, HTTPException
from urllib.parse import quote, urlsplit

from chatapp.effects import Effect
from chatapp.ports import Called, CallOutcome
from tasks.app import app, services, settings

__all__ = ["SimpleCaller", "app"]


class SimpleCaller:
    """Implements the port `Caller`."""

    def call(self, effect: Effect) -> Called:
        url = effect.target or str(settings.action_urls[effect.name])
        return self._ask("POST", url, effect)

    def status(self, effect: Effect) -> Called | None:
        url = settings.action_urls[effect.name].status_url
        if url is None:
            return None
        found = self._ask("GET", f"{url}?idempotency_key={quote(str(effect.id), safe='')}", effect)
        return Called(outcome=CallOutcome.NOT_SENT) if found.error == {"code": "404"} else found

    def _ask(self, method: str, url: str, effect: Effect) -> Called:
        parts = urlsplit(url)
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=settings.effect_timeout_seconds)
        try:
            connection.connect()
        except OSError:
            return Called(outcome=CallOutcome.NOT_SENT, error={"code": "not_reachable", "message": "refused"})
        try:
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(method, path, json.dumps({}), {"Idempotency-Key": str(effect.id)})
            answer = connection.getresponse()
            body = json.loads(answer.read())
        except (OSError, HTTPException):
            return Called(outcome=CallOutcome.UNKNOWN, error={"code": "no_answer", "message": "cut"})
        finally:
            connection.close()
        if answer.status < 300:
            return Called(outcome=CallOutcome.DONE, result=body)
        if answer.status in (429, 503):
            return Called(outcome=CallOutcome.RETRY_LATER, error={"code": str(answer.status)}, retry_after=0.2)
        refused = answer.status < 500
        return Called(
            outcome=CallOutcome.REFUSED if refused else CallOutcome.UNKNOWN,
            error={"code": str(answer.status)},
            dead_letter=refused,
        )


services.caller = SimpleCaller()
