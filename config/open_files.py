"""How many files a server may open: the usual soft limit of 1,024 would be its limit of connections."""

import resource
from collections.abc import Callable


def allow(connections: int, warn: Callable[[str, int, int], object]) -> None:
    """Raise the soft limit, as far as the hard one lets us, so that `connections` fit; warn if they do not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 1_000
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, soft), hard))
    if limit < wanted:
        warn("only %d files may be open: fewer than %d connections will fit", limit, connections)
