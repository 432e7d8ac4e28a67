"""A worker starts on a queue that is safe, and waits for one that cannot be asked."""

import subprocess
from contextlib import contextmanager

import pytest

from chatapp.dev import twin
from chatapp.dev.alone import stop
from chatapp.dev.plan import processes
from chatapp.dev.ports import Ports
from chatapp.provision import Provisioner
from tests.faults.proxy import FaultProxy
from tests.integration.workers import env_of
from tests.servers import clean_env
from tests.stack import ROOT


@contextmanager
def worker(env):
    """A worker as production starts it. The ports of the others do not matter to it."""
    children = processes(Ports(api=1, ws=2, llm=3, redis=4, aws=5))
    command = next(child.command for child in children if child.name == "worker")
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean_env(env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
    )
    try:
        yield process
    finally:
        stop(process)
        process.stdout.close()


def line_with(process, text):
    """Read up to the line that holds a text."""
    said = []
    for line in process.stdout:
        said.append(line)
        if text in line:
            return line
    pytest.fail(f"the worker ended without saying {text!r}:\n{''.join(said)}")


def test_a_worker_waits_for_an_sqs_that_is_away_and_then_works(valkey, settings):
    """It neither dies nor runs without its leases and its relay."""
    with FaultProxy(int(settings.aws_endpoint_url.rsplit(":", 1)[1])) as proxy:
        proxy.refuse()
        with worker(env_of(settings, sqs=f"http://127.0.0.1:{proxy.port}")) as process:
            assert line_with(process, "the worker waits")
            proxy.heal()
            assert line_with(process, "worker ready")


def test_a_worker_refuses_a_queue_without_a_redrive_policy(valkey, aws, settings):
    """Celery's transport would delete what is rejected there."""
    provisioner = Provisioner(settings)
    url = settings.queue_url("chat")
    provisioner._sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": ""})
    env = twin.aws_env(int(aws.rsplit(":", 1)[1])) | {"REDIS_URL": valkey, "SQS_QUEUE_URL_PREFIX": settings.sqs_queue_url_prefix}
    with worker(env) as process:
        assert "no redrive policy" in line_with(process, "does not start")
        assert process.wait(20) != 0
