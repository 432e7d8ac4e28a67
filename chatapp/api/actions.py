"""Actions: what a session's flow has proposed, and the user's yes or no to it."""

from flask import Blueprint, Response

from chatapp.api.body import read_no_body
from chatapp.api.context import principal, services
from chatapp.api.flow_answers import ActionsView, ActionView
from chatapp.api.operations import operation
from chatapp.api.replies import reply
from chatapp.errors import ActionNotOpen, InvalidRequest, Malformed, NotFound, StoreUnavailable, TooLarge, UnsupportedMedia

bp = Blueprint("actions", __name__)

_POST = (Malformed, InvalidRequest, NotFound, ActionNotOpen, TooLarge, UnsupportedMedia, StoreUnavailable)


@bp.get("/sessions/<session_id>/actions")
@operation(answers={200: ActionsView}, errors=(NotFound, StoreUnavailable))
def list_actions(session_id: str) -> Response:
    """List the actions of a session, the newest first."""
    found = services().commands.actions(principal().user_id, session_id)
    return reply(ActionsView(session_id=session_id, actions=[ActionView.model_validate(action) for action in found]))


@bp.post("/sessions/<session_id>/actions/<action_id>/confirm")
@operation(answers={200: ActionView}, errors=_POST)
def confirm_action(session_id: str, action_id: str) -> Response:
    """Confirm an action: it is carried out. Harmless when that was done before; 409 when it was cancelled or has expired.

    Not counted against the rate limit: there is no more to confirm than was proposed.
    """
    read_no_body()
    action = services().commands.confirm(principal().user_id, session_id, action_id, by="http")
    return reply(ActionView.model_validate(action))


@bp.post("/sessions/<session_id>/actions/<action_id>/cancel")
@operation(answers={200: ActionView}, errors=_POST)
def cancel_action(session_id: str, action_id: str) -> Response:
    """Cancel an action that waits for its yes. Harmless when that was done before; 409 when it was confirmed or has expired."""
    read_no_body()
    return reply(ActionView.model_validate(services().commands.cancel_action(principal().user_id, session_id, action_id)))
