"""A worker on stock kombu and Celery, with the settings of ours that are only settings."""

import os
from urllib.parse import urlsplit

from celery import Celery
from celery.exceptions import Reject

QUEUE = "chat"
ENDPOINT, URL = os.environ["STOCK_ENDPOINT"], os.environ["STOCK_QUEUE_URL"]

app = Celery("stock", broker=f"sqs://{urlsplit(ENDPOINT).netloc}")
app.conf.update(
    broker_transport_options={
        "region": "us-east-1",
        "is_secure": False,
        "predefined_queues": {QUEUE: {"url": URL}},
        "wait_time_seconds": 1,
        "polling_interval": 0.1,
        "client-config": {"connect_timeout": 2, "read_timeout": 15, "retries": {"total_max_attempts": 1}},
    },
    task_default_queue=QUEUE,
    task_queues={QUEUE: {"exchange": QUEUE, "routing_key": QUEUE}},
    accept_content=["json"],
    task_acks_late=True,
    task_acks_on_failure_or_timeout=False,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
)


@app.task(name="chatapp.answer")
def answer(job_id: str) -> None:
    """Say which job it was."""
    if job_id == "requeue":
        raise Reject("again", requeue=True)
    print(f"answered {job_id}", flush=True)
