"""The scripted partners: everything outside that the flows and effects talk to, on one port; they fail when they are told to.

`python -m chatapp.dev.partners --port 8003` serves on 127.0.0.1:

| path | stands for |
|---|---|
| `POST /v1/security/oauth2/token`, `GET /v1/reference-data/locations`, `GET /v2/shopping/flight-offers` | Amadeus |
| `POST /actions/<name>`, `GET /actions/<name>/status?idempotency_key=` | the URLs that carry out actions (ACTION_URLS) |
| `POST /outbound` | who receives replies and completions (OUTBOUND_WEBHOOK_URL, `callback_url`) |
| `GET /actions`, `GET /outbound`, `GET /stats`, `GET /health` | what arrived, for people and tests |
| `POST /amadeus/revoke` | all access tokens become invalid |

A fault is staged by a directive of `chatapp.dev.script` (`status`, `retry_after`, `fail`, `delay`, `hang`, `cut`) in what
arrives. An action that gets an error was not carried out; one that gets no answer (`hang`, `cut`) was, unless `status` is there
too. The scripted model reads directives in the same brackets: what it shall not see is written `[[action hang]]` or
`[[outbound status=500]]`, for the one or the other.
"""

import argparse
import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from chatapp.dev import partner_travel
from chatapp.dev.model_http import Exchange, serve_until_told
from chatapp.dev.partner_ledger import Ledger
from chatapp.dev.script import Script, ScriptError, read

EXECUTED = "executed"


@dataclass(frozen=True)
class Staged:
    """What a text asks for: an error instead of what was wanted, and what comes before the answer, or in its place."""

    script: Script
    error: int | None = None

    async def answer(self, exchange: Exchange, status: int, body: dict[str, Any] | None) -> bool:
        """Answer in that way; without a body it is a 204. Returns: whether there was an answer."""
        await asyncio.sleep(self.script.delay or 0)
        if self.script.hang is not None:
            await asyncio.Event().wait()  # until the client leaves, which cancels this
        if self.script.cut is not None:
            exchange.cut()
            return False
        if body is None:
            await exchange.send_nothing()
        else:
            after = self.script.retry_after
            await exchange.send_json(status, body, None if after is None else {"Retry-After": f"{after:g}"})
        return True


class Partners:
    """All of them, and what they have done."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._tokens = partner_travel.Tokens()
        self._failures: Counter[str] = Counter()

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        request = exchange.request
        try:
            match request.method, request.path.strip("/").split("/"):
                case "GET", ["v1", "reference-data", "locations"]:
                    await self._travel(exchange, "airports")
                case "GET", ["v2", "shopping", "flight-offers"]:
                    await self._travel(exchange, "flights")
                case "POST", ["v1", "security", "oauth2", "token"]:
                    self.ledger.asked["tokens"] += 1
                    await exchange.send_json(*self._tokens.grant(dict(parse_qsl(request.body.decode(errors="replace")))))
                case "POST", ["amadeus", "revoke"]:
                    self._tokens.revoke()
                    await exchange.send_nothing()
                case "POST", ["actions", name]:
                    await self._act(exchange, name)
                case "POST", ["outbound"]:
                    await self._take_in(exchange)
                case "GET", ["actions", _, "status"]:
                    await self._tell(exchange)
                case "GET", [place]:
                    await self._show(exchange, place)
                case _:
                    await exchange.send_json(404, {"error": f"nothing at {request.method} {request.path}"})
        except ScriptError as error:
            await exchange.send_json(400, {"error": str(error)})

    async def _travel(self, exchange: Exchange, kind: str) -> None:
        self.ledger.asked[kind] += 1
        if not self._tokens.known(exchange.request.headers.get("authorization", "")):
            await exchange.send_json(*partner_travel.unauthorized())
            return
        params = dict(parse_qsl(exchange.request.query))
        staged, params["keyword"] = self._staged(kind, params.get("keyword", ""), exchange.request.query)
        if staged.error is not None:
            told = {"errors": [{"status": staged.error, "code": 141, "title": "SCRIPTED ERROR"}]}
            await staged.answer(exchange, staged.error, told)
            return
        ask = partner_travel.locations if kind == "airports" else partner_travel.offers
        await staged.answer(exchange, *ask(params))

    async def _act(self, exchange: Exchange, name: str) -> None:
        request, body = exchange.request, exchange.request.body.decode(errors="replace")
        key = request.headers.get("idempotency-key")
        if not key:
            await exchange.send_json(400, {"error": "an Idempotency-Key is needed"})
            return
        action = self.ledger.act(name, key, request.headers, body)
        staged, _ = self._staged("action", body, key)
        if staged.error is not None and action.status != EXECUTED:
            told = {"status": action.status, "calls": action.calls, "error": "scripted"}
            await staged.answer(exchange, staged.error, told)
            return
        action.status = EXECUTED
        told = {"status": EXECUTED, "action": name, "reference": action.reference, "calls": action.calls}
        await staged.answer(exchange, 200, told)

    async def _tell(self, exchange: Exchange) -> None:
        action = self.ledger.actions.get(dict(parse_qsl(exchange.request.query)).get("idempotency_key", ""))
        if action is None:
            await exchange.send_json(404, {"status": "unknown"})
        else:
            await exchange.send_json(200, {"status": action.status, "reference": action.reference, "calls": action.calls})

    async def _take_in(self, exchange: Exchange) -> None:
        headers, body = exchange.request.headers, exchange.request.body.decode(errors="replace")
        delivery = self.ledger.deliver(headers, body)
        staged, _ = self._staged("outbound", body, headers.get("webhook-id", ""))
        status, told = (204, None) if staged.error is None else (staged.error, {"error": "scripted"})
        if await staged.answer(exchange, status, told):
            self.ledger.accept(delivery, status)

    async def _show(self, exchange: Exchange, place: str) -> None:
        match place:
            case "actions":
                await exchange.send_json(200, self.ledger.actions_as_json())
            case "outbound":
                await exchange.send_json(200, self.ledger.deliveries_as_json())
            case "stats":
                await exchange.send_json(200, self.ledger.as_json())
            case "health":
                await exchange.send_json(200, {"status": "ok"})
            case _:
                await exchange.send_json(404, {"error": f"nothing at /{place}"})

    def _staged(self, kind: str, text: str, key: str) -> tuple[Staged, str]:
        """Read what a text stages; `fail` is counted by `key`. Returns: it, and the text without it."""
        script, rest = read(text.replace(f"[[{kind} ", "[["))
        if script.fail is None:
            return Staged(script, script.status), rest
        counted = f"{kind} {key}"
        if self._failures[counted] >= script.fail:
            return Staged(script), rest
        self._failures[counted] += 1
        return Staged(script, script.status or 500), rest


async def run(host: str, port: int, partners: Partners) -> None:
    """Serve until SIGTERM or SIGINT."""
    await serve_until_told(partners.handle, host, port, lambda port: f"scripted partners on http://{host}:{port}")


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m chatapp.dev.partners", description="The scripted partners.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8003, help="0 takes a free one and prints it")
    args = parser.parse_args()
    asyncio.run(run(args.host, args.port, Partners()))


if __name__ == "__main__":
    main()
