"""gunicorn for the API: `python -m gunicorn -c config/gunicorn_api.py "chatapp.api:create_app()"`.

Every view waits for others (DynamoDB, SQS, Redis), so requests are greenlets. The worker class patches the standard library in
each worker before the application is imported; nothing of ours that opens sockets is imported here, in the master.
"""

import sys

from gunicorn.arbiter import Arbiter

from config.open_files import allow
from config.settings import SettingsError, load

try:
    settings = load()
except SettingsError as error:
    sys.exit(str(error))

bind = settings.api_bind
workers = settings.web_workers
worker_class = "config.gunicorn_worker.DrainingWorker"
worker_connections = 10_000
"""A greenlet each; slow clients and `?wait=` hold many at a time (put a proxy that buffers in front: README, Deploy)."""
backlog = 2_048
timeout = 60
"""Seconds without a sign of life of a worker's event loop (not of a request) before it is replaced."""
graceful_timeout = 15
"""Longer than any request has to wait for others once SIGTERM has ended the waits of `GET /jobs/{id}?wait=`."""
keepalive = 75
"""Longer than the 60 s of the usual load balancer, or it finds connections closed under its requests."""
forwarder_headers = ""
"""No header may say where we are mounted, whoever sends it."""
control_socket_disable = True
"""It would be made in the home folder."""
accesslog = None
errorlog = "-"
loglevel = settings.log_level.lower()
proc_name = "chatapp-api"


def on_starting(server: Arbiter) -> None:
    """Make room for the connections."""
    allow(worker_connections, server.log.warning)
