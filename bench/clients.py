"""Load on the API: a few connections that are kept alive, each with one request under way."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from typing import Any

from chatapp.auth import issue
from chatapp.dev.ports import HOST
from config.settings import DEV_JWT_SECRET

CLIENTS = 16


@dataclass(frozen=True)
class Post:
    """A request to be sent as `user`."""

    path: str
    body: dict[str, Any]
    user: str = "bench"


def token_of(user: str) -> str:
    """Make a token that the servers of a stage accept."""
    return issue(DEV_JWT_SECRET, user, seconds=600)


def post_all(port: int, posts: Sequence[Post]) -> list[dict[str, Any]]:
    """Send everything. Returns: the answers, in the order of the posts. Raises: RuntimeError when one is not a success."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        shares = clients.map(partial(_client, port), [posts[i::CLIENTS] for i in range(CLIENTS)])
        answers: list[dict[str, Any]] = [{}] * len(posts)
        for number, share in enumerate(shares):
            answers[number::CLIENTS] = share
        return answers


def _client(port: int, posts: Sequence[Post]) -> list[dict[str, Any]]:
    answers = []
    with closing(HTTPConnection(HOST, port, timeout=30)) as connection:
        for post in posts:
            headers = {"Authorization": f"Bearer {token_of(post.user)}", "Content-Type": "application/json"}
            connection.request("POST", post.path, json.dumps(post.body), headers)
            response = connection.getresponse()
            answer = response.read()
            if not 200 <= response.status < 300:
                raise RuntimeError(f"POST {post.path} was refused: {response.status} {answer[:500]!r}")
            answers.append(json.loads(answer))
    return answers
