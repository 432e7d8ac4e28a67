"""The baseline of `bench.fanout`: `websockets` on asyncio, one Redis subscription, each message to the one socket of its channel.

`python -m bench.bare_fanout PORT REDIS_URL`. No authentication, no log, no resume, nothing bounded.
"""

import asyncio
import json
import sys
from http import HTTPStatus

from redis.asyncio import Redis
from websockets.asyncio.server import Request, Response, ServerConnection, serve

from chatapp.dev.ports import HOST


async def main(port: int, redis_url: str) -> None:
    """Serve until the process is ended."""
    followers: dict[str, ServerConnection] = {}
    async with Redis.from_url(redis_url, decode_responses=True) as redis, redis.pubsub() as pubsub:
        await pubsub.subscribe("bench")  # something, so that it can be read from now on

        async def follow(socket: ServerConnection) -> None:
            channel = json.loads(await socket.recv())["channel"]
            followers[channel] = socket
            await pubsub.subscribe(channel)
            await socket.send('{"type":"subscribed"}')
            await socket.wait_closed()
            del followers[channel]

        async with serve(follow, HOST, port, process_request=_health, compression=None, backlog=4_096):
            async for message in pubsub.listen():
                if message["type"] == "message" and (socket := followers.get(message["channel"])):
                    await socket.send(message["data"])


def _health(socket: ServerConnection, request: Request) -> Response | None:
    return socket.respond(HTTPStatus.OK, "UP") if request.path == "/health/live" else None


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
