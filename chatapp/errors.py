"""Every error of the product, in one tree.

ChatappError
 |- Refused                  the caller must change something (4xx)
 |   |- InvalidRequest          422, with `errors` naming the fields; `Malformed` (400) when the body cannot be read at all
 |   |- Unauthenticated         401
 |   |- BadSignature            401, a webhook that nobody has signed who may
 |   |- Forbidden               403
 |   |- NotFound                404, also for what belongs to somebody else
 |   |- SessionBusy             409, `on_busy: reject`
 |   |- NotEnded                409, a retry of a turn that is still open
 |   |- IdempotencyMismatch     422, same key with another payload
 |   |- InFlight                409, the same webhook is being answered at this moment
 |   |- VersionMismatch         412, the state was changed since it was read
 |   |- PreconditionRequired    428, a change of state without `If-Match`
 |   |- ActionNotOpen           409, the action is not one that can be confirmed or cancelled any more
 |   |- TooLarge                413
 |   |- UnsupportedMedia        415
 |   '- RateLimited             429; `TooManyOpenTurns` when one session has too much queued
 |- Unavailable              something of ours is away; the same request may work later (503)
 |   |- StoreUnavailable        DynamoDB
 |   |- QueueUnavailable        SQS
 |   |- LiveUnavailable         Redis
 |   |- LockTaken               somebody else holds the lease
 |   |- SessionContended        too many writers on one session at this moment
 |   '- ModelUnavailable        the breaker of every provider is open: nothing is accepted that would fail at once
 |- TurnError                why a turn failed; clients see it in the `error` event and in the job
 |   |- Expired                 it waited too long to be started
 |   |- Crashed                 too many of its attempts ended without a word
 |   |- AttemptTimedOut         the attempt ran too long
 |   |- Interrupted             an attempt broke off after it was seen, and the caller wanted no restart
 |   |- Unreadable              its message could not be read
 |   |- FlowUnknown             this worker does not have the turn's flow
 |   |- StateTooLarge           the flow made a state over the limit
 |   |- ExternalUnavailable     another API that the flow needs could not be asked
 |   |   '- ExternalRefused        it was asked, and says that the question is wrong
 |   '- ModelError              the model's provider could not or would not answer
 |       |- ProviderUnavailable     refused, 5xx, timed out, or the stream was cut
 |       |   '- BreakerOpen            nobody was asked: the breaker is open; `retry_after` says until when
 |       |- ProviderRateLimited     429, with `retry_after`
 |       |- ProviderMisconfigured   our key, our address or our account is wrong
 |       |- ModelRequestInvalid     the provider says the request is wrong
 |       |- ContextTooLong          the history does not fit the model
 |       |- AnswerMalformed         the structured answer does not fit its schema
 |       '- ContentRefused          the provider's filter refused it
 '- StopAttempt              this attempt must stop; never shown to a client
     |- StaleAttempt            somebody else holds or has ended the turn
     |- CancelRequested         somebody asked for the turn's cancellation
     |- HandBack                the process stops: the turn goes back to the queue
     '- LogLost                 the turn's log vanished from Redis: re-seed it

Whoever decides on a retry reads `retryable`, never a vendor's type. `code` is part of the public contract (docs/errors.md).
"""

from collections.abc import Sequence
from typing import Any, ClassVar


class ChatappError(Exception):
    """The root. `detail` is safe to show to the caller: it never holds a secret or another user's data."""

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Sequence[dict[str, Any]] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = list(errors)
        self.retry_after = retry_after


class Refused(ChatappError):
    """The caller must change something before it is sent again."""

    http_status = 400


class Malformed(Refused):
    """The body cannot be read as JSON at all."""

    code, title = "malformed_request", "The request cannot be read"


class InvalidRequest(Refused):
    """The request was read, but a field is missing, unknown or wrong."""

    code, http_status, title = "invalid_request", 422, "The request is not valid"


class Unauthenticated(Refused):
    """No token, or one that cannot be trusted."""

    code, http_status, title = "unauthenticated", 401, "Authentication is needed"


class BadSignature(Refused):
    """A webhook without a signature, or with one that none of our secrets makes of its body."""

    code, http_status, title = "bad_signature", 401, "The signature is missing or wrong"


class Forbidden(Refused):
    """The caller is known and may not do this."""

    code, http_status, title = "forbidden", 403, "Not allowed"


class NotFound(Refused):
    """There is no such thing, or it is not yours: the two are never told apart."""

    code, http_status, title = "not_found", 404, "Not found"


class MethodNotAllowed(Refused):
    """The resource exists, the method does not."""

    code, http_status, title = "method_not_allowed", 405, "Method not allowed"


class SessionBusy(Refused):
    """`on_busy: reject` and the session has an open turn."""

    code, http_status, retryable, title = "session_busy", 409, True, "The session is busy"


class NotEnded(Refused):
    """The turn is still open: only an ended one can be tried again."""

    code, http_status, retryable, title = "not_ended", 409, True, "The job has not ended"


class IdempotencyMismatch(Refused):
    """The Idempotency-Key was used before with another payload."""

    code, http_status, title = "idempotency_mismatch", 422, "The key was used with another payload"


class InFlight(Refused):
    """The same request, under the same key, is being answered at this moment."""

    code, http_status, retryable, title = "in_flight", 409, True, "The same request is being answered"


class VersionMismatch(Refused):
    """`If-Match` names another version of the state than the one that is stored."""

    code, http_status, title = "version_mismatch", 412, "The state was changed meanwhile"

    def __init__(self, detail: str = "", *, version: int | None = None) -> None:
        super().__init__(detail)
        self.version = version
        """The one that is stored."""


class PreconditionRequired(Refused):
    """A change of state must say which version it is meant for."""

    code, http_status, title = "precondition_required", 428, "If-Match is needed"


class ActionNotOpen(Refused):
    """The action was cancelled, has expired, or has gone too far."""

    code, http_status, title = "action_not_open", 409, "The action cannot be changed any more"


class TooLarge(Refused):
    """The body is over the limit."""

    code, http_status, title = "too_large", 413, "The request is too large"


class UnsupportedMedia(Refused):
    """The body is not application/json."""

    code, http_status, title = "unsupported_media_type", 415, "Only application/json is understood"


class RateLimited(Refused):
    """The user sent more than the limit allows; `retry_after` says when to come back."""

    code, http_status, retryable, title = "rate_limited", 429, True, "Too many requests"


class TooManyOpenTurns(RateLimited):
    """The session has MAX_OPEN_TURNS open turns."""

    code, title = "too_many_open_turns", "Too many open turns in this session"


class Unavailable(ChatappError):
    """Something of ours is away; the same request may work later."""

    code, http_status, retryable, title = "unavailable", 503, True, "Not available right now"


class StoreUnavailable(Unavailable):
    """DynamoDB did not answer, or refused for load."""

    code, title = "store_unavailable", "The store is not available"


class QueueUnavailable(Unavailable):
    """SQS did not take the message."""

    code, title = "queue_unavailable", "The queue is not available"


class LiveUnavailable(Unavailable):
    """Redis did not answer."""

    code, title = "live_unavailable", "The live layer is not available"


class SessionContended(Unavailable):
    """Too many writers on one session: none of the tries got a number in time."""

    code, title = "session_contended", "The session is contended"


class LockTaken(Unavailable):
    """Somebody else holds the lease that is needed."""

    code, title = "lock_taken", "Somebody else is at it"


class ModelUnavailable(Unavailable):
    """Every provider's breaker is open: what is accepted now would fail at once. Sent before anything is kept."""

    code, title = "provider_unavailable", "The model is not available"


class TurnError(ChatappError):
    """Why a turn failed; as it is, a fault of ours.

    `transient`: another attempt of ours may help, so the turn is tried again. `dead_letter`: once it is final, an operator
    should look at it, so the turn's message goes to the dead-letter queue. `retryable` is for the caller, as everywhere.
    """

    code, title = "turn_failed", "The turn failed"
    transient: ClassVar[bool] = True
    dead_letter: ClassVar[bool] = True


class Expired(TurnError):
    """The turn waited longer than QUEUE_DEADLINE_SECONDS."""

    code, http_status, retryable, title = "expired", 504, True, "The turn waited too long to be started"
    transient = dead_letter = False


class Crashed(TurnError):
    """MAX_CRASHES attempts of the turn ended without a word: their leases lapsed."""

    code, title = "crashed", "Too many attempts of the turn were interrupted"
    transient = False


class AttemptTimedOut(TurnError):
    """The attempt ran longer than ATTEMPT_DEADLINE_SECONDS."""

    code, http_status, retryable, title = "attempt_timed_out", 504, True, "The answer took too long"
    transient = dead_letter = False


class Interrupted(TurnError):
    """An attempt broke off after its first visible delta, and the caller asked for `restart: fail`."""

    code, http_status, retryable, title = "interrupted", 503, True, "The answer was interrupted after it had begun"
    transient = dead_letter = False


class Unreadable(TurnError):
    """The turn's message could not be read by the worker that received it; the dead-letter queue holds it."""

    code, title = "unreadable_message", "The turn's message could not be read"
    transient = dead_letter = False  # the message itself is there already


class FlowUnknown(TurnError):
    """The turn's flow is not one that this worker has: FLOWS differs between processes, or a deploy is half way."""

    code, title = "flow_unknown", "The conversation's flow is not available"


class StateTooLarge(TurnError):
    """The flow's state is over its limit: trying again would make the same."""

    code, title = "state_too_large", "The conversation's state has grown too large"
    transient = False


class ExternalUnavailable(TurnError):
    """Another API could not be asked, and nothing was kept of an earlier answer."""

    code, http_status, retryable, title = "external_unavailable", 503, True, "A service that is needed is not available"


class ExternalRefused(ExternalUnavailable):
    """Another API was asked and did not accept the question: asking again would bring the same."""

    code, http_status, retryable, title = "external_refused", 502, False, "A service did not accept what it was asked"
    transient = dead_letter = False


class ModelError(TurnError):
    """The model's provider could not or would not answer."""

    code, http_status, title = "provider_error", 502, "The model could not answer"
    transient = dead_letter = False


class ProviderUnavailable(ModelError):
    """Refused, 5xx, timed out, or a stream that ended without a finish reason."""

    code, http_status, retryable, title = "provider_unavailable", 503, True, "The model is not available"
    transient = dead_letter = True


class BreakerOpen(ProviderUnavailable):
    """The breaker is open, so nobody was asked. `retry_after`: seconds until it may be tried again."""

    transient = dead_letter = False


class ProviderRateLimited(ModelError):
    """The provider says slow down; `retry_after` is its word in seconds, if it gave one."""

    code, http_status, retryable, title = "provider_rate_limited", 503, True, "The model is rate limited"
    transient = dead_letter = True


class ProviderMisconfigured(ModelError):
    """The provider refused our key, address, model name or account: an operator must act."""

    code, title = "provider_misconfigured", "The model is not configured correctly"
    dead_letter = True


class ModelRequestInvalid(ModelError):
    """The provider says that the request itself is wrong."""

    code, http_status, title = "model_request_invalid", 422, "The model refused the request"


class ContextTooLong(ModelRequestInvalid):
    """Input and history do not fit the model's context."""

    code, title = "context_too_long", "The conversation is too long for the model"


class AnswerMalformed(ModelError):
    """The model was asked for JSON of a form and gave something else."""

    code, http_status, retryable, title = "answer_malformed", 502, True, "The model's answer cannot be read"
    transient = dead_letter = True


class ContentRefused(ModelError):
    """The provider's content filter refused it."""

    code, http_status, title = "content_refused", 422, "The model refused the content"


class StopAttempt(ChatappError):
    """This attempt must stop. Never shown to a client."""

    code, title = "stop_attempt", "The attempt stops"


class StaleAttempt(StopAttempt):
    """Somebody else holds the turn or has ended it: the lease is refused or has run out, or Redis refused an event."""

    code = "stale_attempt"


class CancelRequested(StopAttempt):
    """Somebody asked for the turn's cancellation."""

    code = "cancel_requested"


class HandBack(StopAttempt):
    """The process stops and its grace time is over: the turn goes back to the queue, at no cost to it."""

    code = "hand_back"


class LogLost(StopAttempt):
    """The turn's log is gone from Redis while the turn runs (Redis restarted): re-seed it, if the lease still holds."""

    code = "log_lost"
