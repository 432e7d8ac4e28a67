"""What is yours. Somebody else's, a deleted, an expired, an unknown and a malformed id are one and the same: 404."""

from chatapp.api.context import principal, services
from chatapp.errors import NotFound
from chatapp.model import JobId, Session, Turn, is_session_id


def own_session(session_id: str) -> Session:
    """Find the caller's living session. Raises: NotFound."""
    session = services().sessions.get(session_id) if is_session_id(session_id) else None
    if session is None or session.user_id != principal().user_id or not session.alive(services().clock.now()):
        raise NotFound
    return session


def own_turn(job_id: str) -> tuple[Turn, Session]:
    """Find the caller's turn, and its session. A turn outlives its session's last use, but not its deletion. Raises: NotFound."""
    parsed = JobId.parse(job_id)
    turn = services().turns.get(parsed) if parsed else None
    if turn is None or not visible(turn):
        raise NotFound
    session = services().sessions.get(turn.session_id)
    if session is None or session.deleted_at is not None:
        raise NotFound
    return turn, session


def visible(turn: Turn) -> bool:
    """Say whether the caller may see a turn: it stores its owner, and DynamoDB may keep it longer than it lives."""
    return turn.user_id == principal().user_id and services().clock.now() < turn.expires_at
