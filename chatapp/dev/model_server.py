"""The scripted model server: an OpenAI-compatible API that costs nothing and fails when it is told to.

`python -m chatapp.dev.model_server --port 8002` serves `/v1/chat/completions` (streamed and not), `/v1/models`, `/stats`,
`/calls` and `/health` on 127.0.0.1. Messages may hold the directives of `chatapp.dev.script`.
"""

import argparse
import asyncio
import json
from collections import Counter

from chatapp.dev.completion import GARBAGE, BadRequest, Completion, prepare
from chatapp.dev.model_http import Exchange, error_body, serve_until_told
from chatapp.dev.model_stats import Call, Stats

MODELS = ("scripted", "scripted-large")
DEFAULT_DELAY = 0.02
KEPT_CHARS = 100
CHUNKS_PER_WRITE = 64
"""Without a delay this many go out at once, or the system calls would cost more than the stream."""


class ModelServer:
    """The server's state: what it counted, and how often each conversation has failed already."""

    def __init__(self, *, delay: float = DEFAULT_DELAY, ttft: float = 0.0) -> None:
        self.stats = Stats()
        self._delay = delay
        self._ttft = ttft
        self._failures: Counter[tuple[str, ...]] = Counter()

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        match exchange.request.method, exchange.request.path:
            case "POST", "/v1/chat/completions":
                await self._counted(exchange)
            case "GET", "/v1/models":
                models = [{"id": m, "object": "model", "created": 0, "owned_by": "chatapp"} for m in MODELS]
                await exchange.send_json(200, {"object": "list", "data": models})
            case "GET", "/stats":
                await exchange.send_json(200, self.stats.as_json())
            case "GET", "/calls":
                await exchange.send_json(200, self.stats.calls_as_json())
            case "GET", "/health":
                await exchange.send_json(200, {"status": "ok"})
            case method, path:
                await exchange.send_json(404, error_body(f"unknown request URL: {method} {path}", code="unknown_url"))

    async def _counted(self, exchange: Exchange) -> None:
        self.stats.requests += 1
        self.stats.in_flight += 1
        self.stats.calls.append(call := Call())
        try:
            if await self._complete(exchange, call):
                self.stats.completed += 1
                call.outcome = "completed"
            else:
                self.stats.failed += 1
                call.outcome = "failed"
        except (asyncio.CancelledError, ConnectionError):
            self.stats.aborted_streams += 1
            call.outcome = "aborted"
            raise
        finally:
            self.stats.in_flight -= 1

    async def _complete(self, exchange: Exchange, call: Call) -> bool:
        try:
            body = json.loads(exchange.request.body)
            completion = prepare(body)
        except (ValueError, RecursionError) as error:
            message = str(error) if isinstance(error, BadRequest) else "the body is not JSON"
            await exchange.send_json(400, error_body(message))
            return False
        self.stats.last.append(body)
        call.said = completion.conversation[-1][:KEPT_CHARS]
        if (status := self._failure(completion)) is not None:
            await _fail(exchange, status, completion.script.retry_after)
            return False
        return await (self._stream(exchange, completion, call) if completion.stream else self._whole(exchange, completion))

    def _failure(self, completion: Completion) -> int | None:
        script = completion.script
        if script.fail is None:
            return script.status
        if self._failures[completion.conversation] < script.fail:
            self._failures[completion.conversation] += 1
            return script.status or 500
        del self._failures[completion.conversation]  # so that the same words fail again in the next conversation
        return None

    async def _whole(self, exchange: Exchange, completion: Completion) -> bool:
        script = completion.script
        if script.hang is not None:
            await _silence()
        await asyncio.sleep(self._first(completion) + self._gap(completion) * len(completion.pieces))
        if script.cut is not None:
            exchange.cut()
            return False
        if script.garbage is not None:
            await exchange.send(200, GARBAGE)
            return False
        await exchange.send_json(200, completion.whole())
        return True

    async def _stream(self, exchange: Exchange, completion: Completion, call: Call) -> bool:
        script = completion.script
        if script.hang == 0:
            await _silence()
        await asyncio.sleep(self._first(completion))
        await exchange.begin_stream()
        await exchange.write(completion.chunk({"role": "assistant", "content": ""}))
        stops = [n for n in (script.cut, script.hang, script.garbage) if n is not None]
        chunks = completion.chunks()[: min(stops) if stops else None]
        await self._pace(exchange, chunks, self._gap(completion), call)
        if not stops:
            await exchange.write(completion.end())
        elif script.hang == min(stops):
            await _silence()
        elif script.cut == min(stops):
            exchange.cut()
            return False
        else:
            await exchange.write(GARBAGE)
        await exchange.end_stream()
        return not stops

    async def _pace(self, exchange: Exchange, chunks: list[bytes], gap: float, call: Call) -> None:
        clock = asyncio.get_running_loop().time
        start, sent = clock(), 0
        while sent < len(chunks):
            # By the clock, not by counting sleeps: a busy server sends what is due together instead of falling behind.
            due = len(chunks) if gap == 0 else int((clock() - start) / gap) + 1
            batch = chunks[sent : min(due, sent + CHUNKS_PER_WRITE)]
            if batch:
                await exchange.write(b"".join(batch))
                sent += len(batch)
                self.stats.chunks_written += len(batch)
                call.wrote(len(batch))
            await asyncio.sleep(0 if gap == 0 else max(0.0, start + sent * gap - clock()))

    def _first(self, completion: Completion) -> float:
        return self._ttft if completion.script.ttft is None else completion.script.ttft

    def _gap(self, completion: Completion) -> float:
        return self._delay if completion.script.delay is None else completion.script.delay


async def _silence() -> None:
    """Say nothing until the client leaves, which cancels this."""
    await asyncio.Event().wait()


async def _fail(exchange: Exchange, status: int, retry_after: float | None) -> None:
    kind, code = {
        401: ("invalid_request_error", "invalid_api_key"),
        404: ("invalid_request_error", "model_not_found"),
        429: ("requests", "rate_limit_exceeded"),
    }.get(status, ("invalid_request_error" if status < 500 else "server_error", None))
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    await exchange.send_json(status, error_body(f"scripted: this request fails with {status}", kind, code), headers)


async def run(host: str, port: int, model: ModelServer) -> None:
    """Serve until SIGTERM or SIGINT."""
    await serve_until_told(model.handle, host, port, lambda port: f"scripted model server on http://{host}:{port}/v1")


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m chatapp.dev.model_server", description="The scripted model server.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8002, help="0 takes a free one and prints it")
    parser.add_argument(
        "--delay", type=float, default=DEFAULT_DELAY, help="seconds between tokens, unless a directive says otherwise"
    )
    parser.add_argument(
        "--ttft", type=float, default=0.0, help="seconds before the first token, unless a directive says otherwise"
    )
    args = parser.parse_args()
    asyncio.run(run(args.host, args.port, ModelServer(delay=args.delay, ttft=args.ttft)))


if __name__ == "__main__":
    main()
