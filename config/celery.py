"""What Celery is given, for who sends and for who consumes. The reasons are measured: see docs/decisions/."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from config.resources import CHAT, QUEUES
from config.settings import Settings

WAIT_SECONDS = 4
"""A long poll. A worker that is told to stop waits for its end, since SQS may have given it a message already."""

Bury = Callable[[str, str, str, str, str | None], None]
"""Puts a message away that no worker can read: (queue name, raw body, reason, detail, the job or effect it names or None)."""


def broker_url(settings: Settings) -> str:
    """Say the broker's address: an emulator's host and port, or AWS with boto's own credentials."""
    if settings.aws_endpoint is None:
        return "sqs://"
    return f"sqs://{urlsplit(settings.aws_endpoint).netloc}"


def celery_config(settings: Settings, *, read_timeout: int, tries: int) -> dict[str, Any]:
    """Make Celery's configuration. `read_timeout` (seconds) and `tries` bound each request to SQS."""
    return {
        "broker_url": broker_url(settings),
        "broker_transport_options": {
            "region": settings.aws_region,
            "is_secure": not (settings.aws_endpoint or "https").startswith("http://"),
            # Named queues: Celery then never creates, lists or looks up a queue, and needs no right to.
            "predefined_queues": {q.name: {"url": settings.queue_url(q.name)} for q in QUEUES},
            "wait_time_seconds": WAIT_SECONDS,
            "polling_interval": 0.1,  # 0 burns a core while every slot is busy
            "client-config": {
                "connect_timeout": 2,
                "read_timeout": read_timeout,
                "tcp_keepalive": True,
                "max_pool_connections": 100,
                "retries": {"mode": "standard", "total_max_attempts": tries},
            },
        },
        "broker_connection_retry_on_startup": True,
        "broker_pool_limit": 10,
        "task_default_queue": CHAT.name,
        "task_create_missing_queues": False,
        "task_queues": {q.name: {"exchange": q.name, "routing_key": q.name} for q in QUEUES},
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_publish_retry": False,  # a send that fails is left to the relay
        # A message is deleted when its turn has been seen to, and never because a task failed.
        "task_acks_late": True,
        "task_acks_on_failure_or_timeout": False,
        "task_reject_on_worker_lost": False,
        "worker_prefetch_multiplier": 1,
        # SQS carries neither events nor remote control.
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
    }


def worker_config(settings: Settings, bury: Bury) -> dict[str, Any]:
    """Make the configuration of who consumes: as above, on the transport of ours."""
    config = celery_config(settings, read_timeout=WAIT_SECONDS + 2, tries=2)
    config["broker_transport_options"] |= {
        "bury": bury,
        "fetch_message_attributes": {
            "MessageSystemAttributeNames": ["ApproximateReceiveCount", "SentTimestamp", "MessageGroupId"],
            # Set by the dead-letter queue: such a message has come back from it.
            "MessageAttributeNames": ["Reason", "JobId", "EffectId"],
        },
    }
    return config | {
        # `-Q effects` names a queue that this worker then has instead of `chat`; tasks/app.py checks that it is one of ours.
        "task_queues": {CHAT.name: config["task_queues"][CHAT.name]},
        "task_create_missing_queues": True,
        "broker_transport": "tasks.transport:Transport",
        "worker_consumer": "tasks.consumer:Consumer",
    }
