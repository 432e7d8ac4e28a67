"""Just enough HTTP/1.1 for the scripted servers: streamed answers, and a client that may leave at any time.

asyncio's own server is used for the sockets. Frameworks notice that a client has left only when a write fails, which a silent
stream never does; here the end of the client's side cancels the answer in the same moment.
"""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Request:
    """One request. Header names are in lower case; `query` is what follows the `?`, still encoded."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: str = ""


class Unreadable(Exception):
    """The bytes are no request that is understood here."""


class Reader(asyncio.StreamReader):
    """A StreamReader that says at once when the client has gone. `on_gone` is called at most once per answer."""

    on_gone: Callable[[], object] | None = None

    def feed_eof(self) -> None:
        """Take note of an orderly end."""
        super().feed_eof()
        self._gone()

    def set_exception(self, exc: Exception) -> None:
        """Take note of a reset."""
        super().set_exception(exc)
        self._gone()

    def _gone(self) -> None:
        if self.on_gone is not None:
            on_gone, self.on_gone = self.on_gone, None
            on_gone()


class Exchange:
    """One request and the answer to it."""

    def __init__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.request = request
        self.keep_alive = request.headers.get("connection", "").lower() != "close"
        self._writer = writer

    async def send_json(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        """Answer with JSON."""
        await self.send(status, json.dumps(body).encode(), headers)

    async def send(self, status: int, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Answer with bytes that say they are JSON."""
        self._head(status, {"Content-Type": "application/json", "Content-Length": str(len(payload)), **(headers or {})})
        self._writer.write(payload)
        await self._writer.drain()

    async def send_nothing(self) -> None:
        """Answer 204, which has no body."""
        self._head(204, {})
        await self._writer.drain()

    async def begin_stream(self) -> None:
        """Begin an answer of Server-Sent Events."""
        self._head(
            200, {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", "Transfer-Encoding": "chunked"}
        )
        await self._writer.drain()

    async def write(self, data: bytes) -> None:
        """Send a part of the stream; waits while the client does not read."""
        self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._writer.drain()

    async def end_stream(self) -> None:
        """End the stream in good order."""
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    def cut(self) -> None:
        """Let the connection drop after what was written: for a stream, without its end."""
        self.keep_alive = False

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} {_phrase(status)}", *(f"{name}: {value}" for name, value in headers.items())]
        if not self.keep_alive:
            lines.append("Connection: close")
        self._writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))


Handler = Callable[[Exchange], Awaitable[None]]


async def serve(handler: Handler, host: str, port: int) -> asyncio.Server:
    """Listen; every request goes to `handler`, which is cancelled when its client leaves."""
    loop = asyncio.get_running_loop()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, Reader)  # noqa: S101  for the type checker: made below
        await _converse(reader, writer, handler)

    def protocol() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(Reader(limit=MAX_HEAD_BYTES, loop=loop), connected, loop=loop)

    return await loop.create_server(protocol, host, port, backlog=2048)


async def serve_until_told(handler: Handler, host: str, port: int, say: Callable[[int], str]) -> None:
    """Listen until SIGTERM or SIGINT. `say` makes the line that tells the port."""
    main = asyncio.current_task()
    assert main is not None  # noqa: S101  inside a coroutine there is one
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, main.cancel)
    server = await serve(handler, host, port)
    print(say(server.sockets[0].getsockname()[1]), flush=True)  # noqa: T201
    with suppress(asyncio.CancelledError):
        await server.serve_forever()


async def _converse(reader: Reader, writer: asyncio.StreamWriter, handler: Handler) -> None:
    try:
        while (request := await _read(reader)) is not None:
            exchange = Exchange(request, writer)
            task = asyncio.ensure_future(handler(exchange))
            reader.on_gone = task.cancel
            await asyncio.wait([task])
            reader.on_gone = None
            if task.cancelled():
                return
            task.result()
            if not exchange.keep_alive:
                return
    except Unreadable as error:
        payload = json.dumps(error_body(str(error))).encode()
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(payload), payload))
    except ConnectionError:
        return  # the client went away: counted by the handler that was answering it
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError as error:
        raise Unreadable("the request's head is too long") from error
    first, *lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, _version = first.split(" ")
    except ValueError as error:
        raise Unreadable("not an HTTP request") from error
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not length.isdecimal() or int(length) > MAX_BODY_BYTES:
        raise Unreadable(f"a body needs a Content-Length of at most {MAX_BODY_BYTES}")
    try:
        body = await reader.readexactly(int(length))
    except asyncio.IncompleteReadError:
        return None
    path, _, query = target.partition("?")
    return Request(method, path, headers, body, query)


def error_body(message: str, kind: str = "invalid_request_error", code: str | None = None) -> dict[str, Any]:
    """Make an error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Scripted"
