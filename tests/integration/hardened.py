"""The worker on our transport, with a dead-letter queue of the simplest kind: `celery -A tests.integration.hardened worker`."""

import boto3
from celery.signals import worker_shutting_down

from config.celery import worker_config
from tasks.app import app, settings
from tasks.gate import gate

__all__ = ["app"]

_sqs = boto3.client("sqs", region_name=settings.aws_region, endpoint_url=settings.aws_endpoint)


def bury(queue: str, body: str, reason: str, detail: str, job_id: str | None) -> None:
    """Send it to the dead-letter queue as it is, with why as attributes."""
    attributes = {"Reason": reason, "Detail": detail} | ({"JobId": job_id} if job_id else {})
    _sqs.send_message(
        QueueUrl=settings.queue_url(f"{queue}-dlq"),
        MessageBody=body,
        MessageAttributes={name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
    )


@worker_shutting_down.connect
def _stop_receiving(**_signal: object) -> None:
    gate.close("shutdown")


app.conf.update(worker_config(settings, bury))
