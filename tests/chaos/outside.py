"""Whom effects call: a target that carries actions out and counts, an inbox that keeps what it is sent, a proxy before each."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from chatapp.dev import twin
from chatapp.dev.alone import running
from chatapp.dev.ports import HOST, free_port
from tests.faults.proxy import FaultProxy
from tests.outbound_kit import Received, receiving
from tests.servers import clean_env

ASKED, UNASKED = "clinical_note", "shift_check_in"
"""Actions of the orchestrator: the target of the one says what became of a call, that of the other does not."""

QUICK = {"EFFECT_TIMEOUT_SECONDS": "1.5", "EFFECT_RETRY_SECONDS": "0.5", "EFFECT_MAX_ATTEMPTS": "4"}
"""A call's lease is five seconds longer than the call in any case: six and a half, here."""


class Outside:
    """The target and the inbox. Ended with the stack that they are started on."""

    def __init__(self, stack: ExitStack, folder: Path, *, seed: int) -> None:
        self._port = free_port()
        partners = twin.partners(self._port)
        stack.enter_context(running(partners, clean_env(partners.env), folder))
        self._inbox = stack.enter_context(receiving())
        inbox_port = urlsplit(self._inbox.url).port
        assert inbox_port is not None
        self.to_target = stack.enter_context(FaultProxy(self._port, seed=seed * 10 + 5))
        self.to_inbox = stack.enter_context(FaultProxy(inbox_port, seed=seed * 10 + 6))

    @property
    def callback_url(self) -> str:
        """Where ends of jobs are told."""
        return f"{self.to_inbox.url}/callback"

    def env(self) -> dict[str, str]:
        """The variables that lead there."""
        targets = {name: {"url": f"{self.to_target.url}/actions/{name}"} for name in (ASKED, UNASKED)}
        targets[ASKED]["status_url"] = f"{self.to_target.url}/actions/{ASKED}/status"
        return {
            **QUICK,
            "FLOWS": "chat,orchestrator",
            "ACTION_URLS": json.dumps(targets),
            "OUTBOUND_WEBHOOK_URL": f"{self.to_inbox.url}/outbound",
            "CALLBACK_PRIVATE": "true",
        }

    def calls(self) -> dict[str, dict[str, Any]]:
        """The target's own account: by the action's key, how often it was called and what came of it."""
        told: dict[str, dict[str, Any]] = httpx2.get(f"http://{HOST}:{self._port}/actions", timeout=10).json()
        return told

    def arrived(self) -> list[Received]:
        """All that the inbox was ever sent."""
        return list(self._inbox.requests)
