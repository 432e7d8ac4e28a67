"""What a client may have to deal with.

ClientError
 |- Refused        the server said no: `code`, `detail`, `retryable`, `retry_after`, `errors`
 |- Failed         the answer's text was asked for, and the job has failed: `code`, `detail`, `retryable`
 '- Disconnected   it gave up: the job goes on, and can be followed later from `after`
"""

from collections.abc import Mapping, Sequence


class ClientError(Exception):
    """The root. `detail` is for people."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Refused(ClientError):
    """The server said no. `code` as in docs/errors.md; `retryable`: the same may work later, after `retry_after` seconds.

    `errors` name the fields that are wrong; `status` is that of the HTTP answer, if it was one.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        errors: Sequence[Mapping[str, str]] = (),
        status: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.retryable = retryable
        self.retry_after = retry_after
        self.errors = list(errors)
        self.status = status


class Failed(ClientError):
    """The job has failed, so there is no whole answer."""

    def __init__(self, code: str, detail: str, *, retryable: bool) -> None:
        super().__init__(detail)
        self.code = code
        self.retryable = retryable


class Disconnected(ClientError):
    """The client gave up. The server did not: `follow(job_id, after)` goes on where this stopped."""

    def __init__(self, detail: str, job_id: str | None = None, after: str | None = None) -> None:
        super().__init__(detail)
        self.job_id = job_id
        self.after = after


class Broken(Exception):
    """A connection is over. `pause`: seconds that the server asked for; `renew`: come again with a new token."""

    def __init__(self, why: str, *, pause: float | None = None, renew: bool = False) -> None:
        super().__init__(why)
        self.pause = pause
        self.renew = renew
