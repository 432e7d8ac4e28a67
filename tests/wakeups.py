"""Messages for the queue, as Celery's sender writes them, and with whatever is wrong with them."""

import base64
import json
import pickle
from typing import Any

from config.resources import CHAT_TASK

EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def b64(data: object) -> str:
    """Bytes as they are, anything else as JSON."""
    return base64.b64encode(data if isinstance(data, bytes) else json.dumps(data).encode()).decode()


PICKLED = b64(pickle.dumps([[], {}, EMBED]))


def call(*args: object, embed: dict[str, Any] | None = None, **kwargs: object) -> str:
    """The body of a message: what the task is called with."""
    return b64([list(args), kwargs, EMBED | (embed or {})])


def wake_up(job: object, *, task: object = CHAT_TASK, headers: dict[str, Any] | None = None, **parts: object) -> str:
    """A whole message. `headers` are added to the right ones; `parts` (body, properties...) take the place of the right ones."""
    message = {
        "body": call(job_id=job),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": task, "id": job, "eta": None, "expires": None, "retries": 0, **(headers or {})},
        "properties": {"body_encoding": "base64", "delivery_info": {"exchange": "", "routing_key": "chat"}},
    }
    return b64(message | {name.replace("_", "-"): value for name, value in parts.items()})


def poison(job: str) -> dict[str, tuple[str, str]]:
    """Every kind of message that no worker can read: {kind: (message, reason)}."""
    return {
        "plain text": ("good morning", "not_base64"),
        "not ASCII": ("é", "not_base64"),
        "base64 of garbage": (b64(b"\x80\x81\x82"), "not_json"),
        "deep message": (b64(b'{"headers":' + b"[" * 50_000), "not_json"),
        "a list": (b64([1, 2, 3]), "not_an_object"),
        "a number": (b64(7), "not_an_object"),
        "an empty object": (b64({}), "wrong_headers"),
        "headers a text": (b64({"headers": "x", "properties": {}}), "wrong_headers"),
        "properties a list": (wake_up(job, properties=[1]), "wrong_properties"),
        "task null": (wake_up(job, task=None), "no_task"),
        "task a number": (wake_up(job, task=7), "no_task"),
        "task an object": (wake_up(job, task={"a": 1}), "no_task"),
        "task unknown": (wake_up(job, task="chatapp.other"), "unknown_task"),
        "id null": (wake_up(job, headers={"id": None}), "no_id"),
        "id a number": (wake_up(job, headers={"id": 7}), "no_id"),
        "eta": (wake_up(job, headers={"eta": "2031-01-01T00:00:00+00:00"}), "scheduled"),
        "eta a number": (wake_up(job, headers={"eta": 7}), "scheduled"),
        "expires": (wake_up(job, headers={"expires": "2001-01-01T00:00:00+00:00"}), "scheduled"),
        "unknown compression": (wake_up(job, headers={"compression": "application/x-nothing"}), "compressed"),
        "pickle": (wake_up(job, body=PICKLED, content_type="application/x-python-serialize"), "wrong_content_type"),
        "yaml": (wake_up(job, body=b64(b"- []\n- {}\n- {}\n"), content_type="application/x-yaml"), "wrong_content_type"),
        "unknown charset": (wake_up(job, content_encoding="klingon"), "wrong_encoding"),
        "unknown body encoding": (wake_up(job, properties={"body_encoding": "uu"}), "wrong_encoding"),
        "body null": (wake_up(job, body=None), "wrong_body"),
        "body a number": (wake_up(job, body=7), "wrong_body"),
        "body not base64": (wake_up(job, body="%%%"), "not_base64"),
        "body not JSON": (wake_up(job, body=b64(b"{")), "not_json"),
        "deep body": (wake_up(job, body=b64(b"[" * 50_000)), "not_json"),
        "body not a triple": (wake_up(job, body=b64({"job_id": job})), "wrong_body"),
        "body a pair": (wake_up(job, body=b64([[], {"job_id": job}])), "wrong_body"),
        "kwargs a list": (wake_up(job, body=b64([[], ["job_id", job], EMBED])), "wrong_arguments"),
        "arguments by place": (wake_up(job, body=call(job)), "wrong_arguments"),
        "no arguments": (wake_up(job, body=call()), "wrong_arguments"),
        "another schema version": (wake_up(job, body=call(job_id=job, version=9)), "wrong_arguments"),
        "not a job id": (wake_up(job, body=call(job_id="../../etc")), "wrong_job_id"),
        "a job id that is a number": (wake_up(job, body=call(job_id=7)), "wrong_job_id"),
        "callbacks": (wake_up(job, body=call(job_id=job, embed={"callbacks": [{"task": CHAT_TASK}]})), "embedded_tasks"),
    }  # fmt: skip
