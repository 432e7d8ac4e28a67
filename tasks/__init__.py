"""The worker: `python -m celery -A tasks worker -P gevent -c 500`."""

from tasks.app import app

__all__ = ["app"]
