"""gunicorn for the WebSocket server: `python -m gunicorn -c config/gunicorn_ws.py "ws.app:create_app()"`.

One process: a socket is a greenlet, and all share one Redis connection. For more sockets start more of these on other ports.
"""

import gc
import sys

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from config.open_files import allow
from config.settings import SettingsError, load

try:
    settings = load()
except SettingsError as error:
    sys.exit(str(error))

bind = settings.ws_bind
workers = 1
worker_class = "config.gunicorn_worker.DrainingWorker"
worker_connections = 12_000
"""10,000 sockets, and room for those that come back before the old ones are noticed to be gone."""
backlog = 4_096
timeout = 60
graceful_timeout = 5
"""SIGTERM tells every socket to come back elsewhere. Who has not gone by then does not read."""
keepalive = 75
forwarder_headers = ""
"""No header may say where we are mounted, whoever sends it."""
control_socket_disable = True
"""It would be made in the home folder."""
accesslog = None
errorlog = "-"
loglevel = settings.log_level.lower()
proc_name = "chatapp-ws"


def on_starting(server: Arbiter) -> None:
    """Make room for the sockets."""
    allow(worker_connections, server.log.warning)


def post_worker_init(_worker: Worker) -> None:
    """Keep Python's cyclic garbage collector from stopping the process: with 5,000 sockets a full collection takes 1.5 s.

    What the start has made is never looked at again. And a collection comes when that many more objects were made than went,
    not whenever some hundred events are on their way: those go by themselves.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
