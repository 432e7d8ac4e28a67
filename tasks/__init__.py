"""The workers: `python -m celery -A tasks worker -Q chat -P gevent -c 500` answers turns, `-Q effects` carries effects out."""

from tasks.app import app

__all__ = ["app"]
