"""The composition root: the only package that names adapters. Lazy: nothing connects, or is imported, before it is used.

stores.py < live.py < outside.py < use_cases.py: each adds to what stands before it, and `Services` is all of them.
"""

from chatapp import failpoints
from chatapp.services.use_cases import Services
from config.settings import Settings

__all__ = ["Services", "build"]


def build(settings: Settings) -> Services:
    """Make the services of a process."""
    failpoints.configure(settings.fail_points)
    return Services(settings)
