"""How long the client waits for what, and how often it tries. Seconds everywhere."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """What a caller may want otherwise."""

    away: float = 60.0
    """How long a connection is tried again without success before `Disconnected` is raised."""

    silence: float = 60.0
    """After so long without an event the job itself is asked whether it has ended."""

    end: float = 5.0
    """The same, of a job of which the server has said that it has ended."""

    life_sign: float = 10.0
    """A server whose ping is this much later than it said is taken for dead."""

    tries: int = 5
    """How often a request is sent at most."""

    retry_after: float = 30.0
    """Who is told to come back later than this gets `Refused`, instead of waiting."""

    first_pause: float = 0.5
    longest_pause: float = 10.0

    def pause(self, tries: int) -> float:
        """Choose how long to wait after the `tries`-th failure in a row (from 0): exponential, with full jitter.

        See https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        return random.uniform(0, min(self.longest_pause, self.first_pause * 2 ** min(tries, 10)))  # noqa: S311  guards nothing


DEFAULT = Patience()
