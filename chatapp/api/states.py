"""The state of a session's flow: read, and changed on condition of its version."""

import re

from flask import Blueprint, Response, request

from chatapp.api.body import JSON, read_body
from chatapp.api.context import services, take_allowance
from chatapp.api.flow_answers import StateView
from chatapp.api.operations import operation
from chatapp.api.owned import own_session
from chatapp.api.replies import reply
from chatapp.errors import (
    Malformed,
    NotFound,
    PreconditionRequired,
    RateLimited,
    SessionContended,
    StoreUnavailable,
    TooLarge,
    UnsupportedMedia,
    VersionMismatch,
)
from chatapp.requests import StateChange

bp = Blueprint("states", __name__)

MERGE_PATCH = "application/merge-patch+json"
MEDIA = (MERGE_PATCH, JSON)

_VERSION = re.compile(r"0|[1-9][0-9]{0,15}")


@bp.get("/sessions/<session_id>/state")
@operation(answers={200: StateView, 304: None}, headers=("If-None-Match",), errors=(NotFound, StoreUnavailable))
def get_state(session_id: str) -> Response:
    """Read the state of a session's flow; `ETag` holds its version, and `If-None-Match` asks for a later one only."""
    view = StateView.of(own_session(session_id))
    answer = reply(view, headers=_etag(view))
    answer.make_conditional(request)
    return answer


@bp.patch("/sessions/<session_id>/state")
@operation(
    body=StateChange,
    media=MEDIA,
    answers={200: StateView},
    headers=("If-Match",),
    errors=(
        Malformed,
        NotFound,
        VersionMismatch,
        TooLarge,
        UnsupportedMedia,
        PreconditionRequired,
        RateLimited,
        SessionContended,
        StoreUnavailable,
    ),
)
def patch_state(session_id: str) -> Response:
    """Change the state by a JSON merge patch (RFC 7396), if its version is still one of `If-Match`; `*` stands for any."""
    patch = read_body(StateChange, media=MEDIA)
    take_allowance()
    session = own_session(session_id)
    view = StateView.of(services().patch_state(session, patch.root, versions=_versions()))
    return reply(view, headers=_etag(view))


def _etag(view: StateView) -> dict[str, str]:
    return {"ETag": f'"{view.version}"'}


def _versions() -> frozenset[int] | None:
    """Read `If-Match`: the versions that it names, None for any. What is no version of ours matches nothing, as a weak tag does.

    Raises: PreconditionRequired.
    """
    if "If-Match" not in request.headers:
        raise PreconditionRequired('Send the version that you have read, If-Match: "<version>", or If-Match: * for any')
    given = request.if_match
    if given.star_tag:
        return None
    return frozenset(int(tag) for tag in given.as_set() if tag and _VERSION.fullmatch(tag))
