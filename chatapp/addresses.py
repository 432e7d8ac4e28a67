"""Which addresses belong to the public Internet, and what a callback URL may be. Nothing is looked up here.

Callback URLs are written by users, and called by us from within our own network: without these rules a user could have us call
what only we can reach (server-side request forgery). A name is checked when it is called: `chatapp.outbound.resolving`.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

MAX_URL_CHARS = 2_048

# The registries of special addresses of IANA (RFC 6890 and later), whole: Python's `is_global` lets some of them pass, and
# which ones depends on its version.
_NOT_PUBLIC_4 = [
    ip_network(n)
    for n in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
        *("192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
]
# Of IPv6 only this much is given out. All else is local, multicast, or holds an IPv4 address (mapped, compatible, NAT64)...
_PUBLIC_6 = ip_network("2000::/3")
# ...as some of it does too: Teredo, 6to4. The rest is for documentation and protocols.
_NOT_PUBLIC_6 = [ip_network(n) for n in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")]

_VISIBLE = re.compile(r"[\x21-\x5b\x5d-\x7e]+")  # no blank, no control character, and no backslash, which browsers read as /
_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)


def is_public(address: str) -> bool:
    """Say whether an address is one of the public Internet, of one host. Raises: ValueError, if it is no address."""
    parsed = ip_address(address)
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _NOT_PUBLIC_4)
    return parsed in _PUBLIC_6 and not any(parsed in network for network in _NOT_PUBLIC_6)


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """Read a host that is an address; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def check_callback(url: str, *, https_only: bool, private: bool) -> str:
    """Check a URL that a user wants to be called; `private`: it may lead into our own network.

    Returns: the URL. Raises: ValueError, which says in words what is wrong.
    """
    if len(url) > MAX_URL_CHARS:
        raise ValueError(f"must have at most {MAX_URL_CHARS} characters")
    if not _VISIBLE.fullmatch(url):
        raise ValueError("must be an absolute URL in ASCII, without blanks or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    _check_form(parts, url, https_only=https_only)
    if not private:
        _check_host(parts.hostname or "")
        if port is not None and port not in (80, 443) and port < 1024:
            raise ValueError("must have the port 80, 443, or one from 1024 on")
    return url


def _check_form(parts: SplitResult, url: str, *, https_only: bool) -> None:
    if parts.scheme not in (("https",) if https_only else ("https", "http")) or "://" not in url:
        raise ValueError("must begin with https://" + ("" if https_only else " or http://"))
    if "@" in parts.netloc or "#" in url:
        raise ValueError("must hold no user, password or fragment")
    if "%" in parts.netloc:
        raise ValueError("must name a host without a % in it")
    host = parts.hostname or ""
    if parts.port == 0 or not (isinstance(literal(host), IPv6Address) if "[" in parts.netloc else _NAME.fullmatch(host)):
        raise ValueError("must name a host: a DNS name or an address")
    # What ends in a number is read as an IPv4 address by resolvers, in notations that nobody expects: 127.1, 0x7f.1, 2130706433.
    if "[" not in parts.netloc and _NUMBER.fullmatch(host.rpartition(".")[2]) and literal(host) is None:
        raise ValueError("must name a host: an IPv4 address has four decimal numbers")


def _check_host(host: str) -> None:
    if host.lower().rpartition(".")[2] == "localhost":
        raise ValueError("must not lead to a private address")
    if literal(host) is not None and not is_public(host):
        raise ValueError("must not lead to a private address")
