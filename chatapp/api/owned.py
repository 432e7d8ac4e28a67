"""What is the caller's own. Somebody else's, a deleted, an expired, an unknown and a malformed id are one and the same: 404."""

from chatapp.api.context import principal, services
from chatapp.model import Session, Turn


def own_session(session_id: str) -> Session:
    """Find the caller's living session. Raises: NotFound."""
    return services().commands.own_session(principal().user_id, session_id)


def own_turn(job_id: str) -> tuple[Turn, Session]:
    """Find the caller's turn, and its session. Raises: NotFound."""
    return services().commands.own_turn(principal().user_id, job_id)
