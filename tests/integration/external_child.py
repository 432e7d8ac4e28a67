"""A process that asks external APIs, for tests of several: `python -m tests.integration.external_child REDIS PARTNERS KEYWORD`.

Takes commands by lines and answers each with one: a number lets so many threads ask for the keyword at once (`["GRU", ...]`, the
codes that all were told); `lead` takes the lease on the question and never lets go (`leading`).
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from redis import Redis

from chatapp.clock import SystemClock
from chatapp.dev.partner_travel import CLIENT_ID, CLIENT_SECRET
from chatapp.live.api_cache import ApiCache, name_of
from chatapp.live.api_lease import Lease, Leases
from chatapp.live.external import CachedApis
from chatapp.travel.amadeus import Amadeus

LEASE_SECONDS = 2.0


def main():
    """Do what the lines say."""
    url, partners, keyword = sys.argv[1:]
    redis, clock, params = Redis.from_url(url, decode_responses=True), SystemClock(), {"keyword": keyword}
    leases = Leases(redis, seconds=LEASE_SECONDS)
    amadeus = Amadeus(partners, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, clock=clock)
    apis = CachedApis({"airports": amadeus.airports}, ApiCache(redis, clock, seconds=60, stale_seconds=60), leases, clock)

    def ask(_):
        return tuple(place["iataCode"] for place in apis.cached_get("airports", params)["data"])

    with ThreadPoolExecutor(20) as pool, ExitStack() as kept:
        for line in sys.stdin:
            if line.strip() == "lead":
                lease = leases.look(name_of("airports", params))
                assert isinstance(lease, Lease)
                kept.enter_context(leases.renewed(lease))
                print("leading", flush=True)
            else:
                (told,) = set(pool.map(ask, range(int(line))))
                print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
