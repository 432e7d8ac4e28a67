"""What the scripted partners were asked to do: actions by their Idempotency-Key, and deliveries."""

import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from time import time
from typing import Any

KEPT_DELIVERIES = 100


@dataclass
class Action:
    """One action, as its target knows it. `calls` counts every call that arrived, whatever became of it."""

    name: str
    calls: int = 0
    status: str = "failed"
    """`executed` once it was carried out, which the caller may not have learnt; else `failed`."""
    reference: str = field(default_factory=lambda: secrets.token_hex(6))
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


@dataclass
class Delivery:
    """One call of the inbox. `answered` is the status it got, None while, or because, it got none."""

    headers: dict[str, str]
    body: str
    received_at: float = field(default_factory=time)
    answered: int | None = None


@dataclass
class Ledger:
    """Counts and contents, for who asks what really arrived."""

    actions: dict[str, Action] = field(default_factory=dict)
    deliveries: deque[Delivery] = field(default_factory=lambda: deque(maxlen=KEPT_DELIVERIES))
    received: int = 0
    accepted: int = 0
    asked: dict[str, int] = field(default_factory=lambda: {"tokens": 0, "airports": 0, "flights": 0})
    """How often the travel API was called, by what was asked of it."""

    def act(self, name: str, key: str, headers: Mapping[str, str], body: str) -> Action:
        """Count a call of an action."""
        action = self.actions.setdefault(key, Action(name))
        action.calls += 1
        action.headers, action.body = dict(headers), body
        return action

    def deliver(self, headers: Mapping[str, str], body: str) -> Delivery:
        """Keep a delivery."""
        self.received += 1
        self.deliveries.append(delivery := Delivery(dict(headers), body))
        return delivery

    def accept(self, delivery: Delivery, status: int) -> None:
        """Take note of the answer to a delivery."""
        delivery.answered = status
        self.accepted += status < 300

    def actions_as_json(self) -> dict[str, Any]:
        """Say what `GET /actions` does."""
        return {key: asdict(action) for key, action in self.actions.items()}

    def deliveries_as_json(self) -> dict[str, Any]:
        """Say what `GET /outbound` does."""
        return {"count": self.received, "deliveries": [asdict(delivery) for delivery in self.deliveries]}

    def as_json(self) -> dict[str, Any]:
        """Say what `GET /stats` does."""
        calls = [action.calls for action in self.actions.values()]
        return {
            **self.asked,
            "actions": {"calls": sum(calls), "keys": len(calls), "most_calls": max(calls, default=0)},
            "outbound": {"calls": self.received, "accepted": self.accepted},
        }
