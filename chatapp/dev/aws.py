"""ministack as an ASGI application, with one correction: a long poll ends when its client has gone.

ministack 1.5.33 goes on polling for a client that was killed, for up to `WaitTimeSeconds`; a message that comes in meanwhile is
handed to nobody and hidden for a whole visibility time. SQS may do that too, rarely, and the relay heals it; but whoever kills
a worker to see the answer go on should not have to wait for that.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ministack.app import app as ministack

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LONG_POLL = (b"x-amz-target", b"AmazonSQS.ReceiveMessage")


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Serve one request."""
    if scope["type"] == "http" and LONG_POLL in scope["headers"]:
        await _until_gone(scope, receive, send)
    else:
        await ministack(scope, receive, send)


async def _until_gone(scope: Message, receive: Receive, send: Send) -> None:
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    serving = asyncio.create_task(ministack(scope, inbox.get, send))

    async def listen() -> None:
        while (message := await receive())["type"] != "http.disconnect":
            inbox.put_nowait(message)
        serving.cancel()

    listening = asyncio.create_task(listen())
    try:
        await asyncio.wait((serving,))
    finally:
        listening.cancel()
        serving.cancel()
    if not serving.cancelled():
        serving.result()
