"""What is live: logs, channels, sockets, limits, all in Redis."""

from typing import TYPE_CHECKING

from chatapp.live.events import EventLog
from chatapp.services.made_once import made_once
from chatapp.services.stores import Stores

if TYPE_CHECKING:
    from chatapp.live.channel import Channel
    from chatapp.live.feeds import Feeds
    from chatapp.live.pushing import Pushes
    from chatapp.live.ratelimit import RateLimiter
    from chatapp.live.session_log import SessionLog
    from chatapp.live.signals import Signals
    from chatapp.live.sockets import SocketRegistry
    from chatapp.live.tickets import Tickets
    from chatapp.live.waiting import Waiting


class Live(Stores):
    """The live layer, beside the stores."""

    @made_once
    def events(self) -> EventLog:
        """The logs of turns."""
        return EventLog(self.redis, self.clock)

    @made_once
    def channel(self) -> "Channel":
        """This process's one subscription to Redis."""
        from chatapp.live.channel import Channel

        return Channel(self.redis)

    @made_once
    def sockets(self) -> "SocketRegistry":
        """Who is connected, and where."""
        from chatapp.live.sockets import SocketRegistry

        return SocketRegistry(self.redis, self.clock)

    @made_once
    def tickets(self) -> "Tickets":
        """One-time tickets for browsers."""
        from chatapp.live.tickets import Tickets

        return Tickets(self.redis, self.clock)

    @made_once
    def pushes(self) -> "Pushes":
        """To all sockets of a user, or to all."""
        from chatapp.live.pushing import Pushes

        return Pushes(self.redis)

    @made_once
    def session_log(self) -> "SessionLog":
        """The sessions' own logs: what is no answer to a turn."""
        from chatapp.live.session_log import SessionLog

        return SessionLog(self.redis, self.clock)

    @made_once
    def signals(self) -> "Signals":
        """A word to whoever runs a turn."""
        from chatapp.live.signals import Signals

        return Signals(self.redis, self.channel)

    @made_once
    def limiter(self) -> "RateLimiter":
        """The rate limit of each user."""
        from chatapp.live.ratelimit import RateLimiter

        return RateLimiter(self.redis, requests=self.settings.rate_limit_requests, seconds=self.settings.rate_limit_seconds)

    @made_once
    def until_ended(self) -> "Waiting":
        """Waits for the end of a turn."""
        from chatapp.live.waiting import Waiting

        return Waiting(self.channel, self.turns, self.clock)

    @made_once
    def feeds(self) -> "Feeds":
        """The event streams of this process."""
        from chatapp.live.feed import Pace, Sources
        from chatapp.live.feeds import Feeds, Room
        from chatapp.live.replay import Replay

        replay = Replay(self.events, self.turns)
        room = Room(events=self.settings.ws_send_queue, size=self.settings.ws_send_bytes)
        return Feeds(Sources(self.channel, replay, self.sessions, self.clock, Pace()), room)
