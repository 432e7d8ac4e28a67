"""Which addresses are of the public Internet, and which callback URLs are taken."""

import pytest

from chatapp.addresses import check_callback, is_public

PRIVATE = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1
172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1
239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::ffff:10.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 100::1
2001::1 2001:db8::1 2002:7f00:1:: 2002:a00:1::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1
""".split()
PUBLIC = """
1.1.1.1 8.8.8.8 93.184.215.14 100.63.255.255 100.128.0.1 172.32.0.1 192.167.1.1 223.255.255.255 2606:4700::1111 2a00::1
""".split()


@pytest.mark.parametrize("address", PRIVATE)
def test_no_special_address_is_public(address):
    """Private, shared, local, reserved, for documentation, and IPv6 that holds IPv4."""
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address):
    """Also those just outside of the special ranges."""
    assert is_public(address)


def check(url, *, https_only=False, private=False):
    return check_callback(url, https_only=https_only, private=private)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org",
        "https://example.org/a/b?token=%20x&y=1",
        "http://example.org:8080/x",
        "https://EXAMPLE.org:443/",
        "https://xn--bcher-kva.example/",
        "https://8.8.8.8/x",
        "https://[2606:4700::1111]:8443/x",
        "https://a_b.example.org/",
    ],
)
def test_a_public_url_is_taken_as_it_is(url):
    """Nothing is rewritten: what is called is what was asked for."""
    assert check(url) == url


@pytest.mark.parametrize("host", [f"[{a}]" if ":" in a else a for a in PRIVATE])
def test_an_address_in_a_url_is_refused_unless_private_ones_are_allowed(host):
    """At once; names are looked up when they are called."""
    with pytest.raises(ValueError, match=r"private|without a %"):
        check(f"http://{host}/")
    if "%" not in host:
        assert check(f"http://{host}/", private=True)


@pytest.mark.parametrize(
    "host", "127.1 127.0.1 2130706433 0177.0.0.1 0x7f.1 0x7f000001 017700000001 1.2.3.4.5 256.1.1.1 a.b.0x1".split()
)
@pytest.mark.parametrize("private", [True, False])
def test_other_ways_to_write_an_ipv4_address_are_refused(host, private):
    """Resolvers read them; people and filters do not."""
    with pytest.raises(ValueError, match=r"four decimal|name a host"):
        check(f"http://{host}/", private=private)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "//example.org/",
        "https:example.org",
        "https:///x",
        "https://",
        "https://:443/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org/",
        "javascript:alert(1)",
        "https://user@example.org/",
        "https://user:password@example.org/",
        "https://example.org@169.254.169.254/",
        "https://example.org#@169.254.169.254/",
        "https://example.org/#",
        "https://example.org\\@169.254.169.254/",
        "https://exa mple.org/",
        "https://example.org/\r\nHost: other",
        "https://example.org/\x00",
        "https://example.org/é",
        "https://①②⑦.⓪.⓪.①/",
        "https://%31%32%37.0.0.1/",
        "https://example.org:99999/",
        "https://example.org:0/",
        "https://example.org:-1/",
        "https://example.org:a/",
        "https://[::1/",
        "https://[example.org]/",
        "https://[v1.x]/",
        "https://[2606:4700::1%25eth0]/",
        "https://-a.example.org/",
        "https://a..example.org/",
        f"https://{'a' * 64}.example.org/",
        f"https://{'a.' * 140}org/",
        "https://example.org/" + "x" * 2048,
        "https://example.org:22/",
        "https://example.org:25/",
        "https://localhost/",
        "https://LOCALHOST:3000/",
        "https://app.localhost/",
        "https://example.org./",
    ],
)
def test_what_is_no_proper_url_is_refused(url):
    """Whatever makes two readers see two hosts, and what hides something."""
    with pytest.raises(ValueError, match=r"must|not a URL"):
        check(url)


def test_only_https_where_that_is_asked_for():
    """As in production."""
    assert check("https://example.org/", https_only=True)
    with pytest.raises(ValueError, match="https"):
        check("http://example.org/", https_only=True)


def test_a_laptop_may_call_itself():
    """CALLBACK_PRIVATE lifts the rules on hosts and ports, and no other."""
    assert check("http://localhost:81/x", private=True)
    assert check("http://redis:6379/", private=True)
    with pytest.raises(ValueError, match="password"):
        check("http://a:b@localhost/", private=True)
