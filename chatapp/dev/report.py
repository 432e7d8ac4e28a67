"""What is told once the stack is healthy: to people a short table, to scripts a file of JSON."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatapp.dev.ports import HOST, Ports


@dataclass(frozen=True)
class Addresses:
    """Where the stack is reached. Base URLs without a slash at the end; `ws` ends in /ws, `llm` in /v1."""

    api: str
    ws: str
    llm: str
    redis: str
    aws: str
    partners: str

    @classmethod
    def of(cls, ports: Ports, llm: str | None = None) -> "Addresses":
        """Say the addresses on the given ports; `llm` is a real provider's, if there is one."""
        return cls(
            api=f"http://{HOST}:{ports.api}",
            ws=f"ws://{HOST}:{ports.ws}/ws",
            llm=llm or f"http://{HOST}:{ports.llm}/v1",
            redis=f"redis://{HOST}:{ports.redis}/0",
            aws=f"http://{HOST}:{ports.aws}",
            partners=f"http://{HOST}:{ports.partners}",
        )


class ReadyFile:
    """The file that says the stack is healthy, and how to reach and join it. It exists only while that is so."""

    def __init__(self, path: Path, addresses: Addresses, token: str | None, env: Mapping[str, str]) -> None:
        self._path = path
        self._told: dict[str, Any] = {**vars(addresses), "token": token, "env": dict(env)}

    def write(self, pids: Mapping[str, int]) -> None:
        """Write it whole, or not at all; readable by its owner only, since it holds a token."""
        part = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123  a descriptor
            json.dump({**self._told, "pids": dict(pids)}, file, indent=2)
        part.replace(self._path)

    def remove(self) -> None:
        """Take it away."""
        self._path.unlink(missing_ok=True)


def table(addresses: Addresses, token: str | None, pids: Mapping[str, int], *, scripted: bool) -> str:
    """Say what runs where, and what to do next."""
    rows = [
        ("page", f"{addresses.api}/", ""),
        ("API", addresses.api, "api"),
        ("docs", f"{addresses.api}/docs", ""),
        ("WebSocket", addresses.ws, "ws"),
        ("worker", "takes turns from SQS", "worker"),
        ("effects", "carries out actions and deliveries", "effects"),
        ("model", addresses.llm + (" (scripted)" if scripted else ""), "llm"),
        ("SQS, DynamoDB", addresses.aws, "aws"),
        ("Redis", addresses.redis, "redis"),
    ]
    if "partners" in pids:
        rows += [
            ("partners", f"{addresses.partners} (scripted: travel, actions)", "partners"),
            ("replies sent", f"{addresses.partners}/outbound", ""),
            ("actions done", f"{addresses.partners}/actions", ""),
        ]
    lines = [f"  {what:<14} {where:<44} {f'pid {pids[name]}' if name in pids else ''}".rstrip() for what, where, name in rows]
    bearer = token or "<a token of your identity provider>"
    lines += [
        "",
        "  Send a message:",
        f"    curl -s {addresses.api}/chat -H 'Content-Type: application/json' \\",
        f"      -H 'Authorization: Bearer {bearer}' -d '{{\"message\": \"Hello!\"}}'",
        f'    {_python()} -m chatapp chat "Hello!" --url {addresses.api}',
        "",
    ]
    if scripted:
        lines += ["  A real model:  OPENAI_API_KEY=... [OPENAI_BASE_URL=...] [LLM_MODEL=...] make run", ""]
    return "\n".join([*lines, "  Ctrl-C stops everything."])


def _python() -> str:
    """Name the interpreter that has what is needed: the one that runs this, as short as it can be said."""
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
