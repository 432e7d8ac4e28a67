"""What a call can come to when there is no answer.

CallFailed
 |- NotSent            nothing can have reached the target: no name, no connection, no TLS
 |   |- AddressRefused     its address is none of the public Internet
 |   '- Crowded            too many calls of ours are under way to it
 '- Unanswered         something was sent, and no answer came that can be read: nobody knows what the target did

The texts are shown to operators and users: they hold no address, path or word of the target's.
"""


class CallFailed(Exception):
    """The root."""


class NotSent(CallFailed):
    """Nothing can have reached the target."""


class AddressRefused(NotSent):
    """The target's address is not a public one."""


class Crowded(NotSent):
    """Too many calls are under way to the target."""


class Unanswered(CallFailed):
    """The request was sent, in part at least, and no answer came that can be read."""
