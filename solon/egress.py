"""Requests to addresses that somebody else chose: which may be called, and a client that calls no other.

A name is resolved once, every address that it has is checked, and the connection goes to one of those very addresses,
so that a name that changes its answer gains nothing. Redirects are not followed, proxies of the environment are not
used, and an answer has a size and a time. What is raised names neither the resolved address nor what was fetched.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import httpx2

from solon.errors import Failed, InvalidInput, ModelUnavailable
from solon.lanes import Lanes

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]
"""All addresses of a name, as literals; raises OSError."""

_RESOLVE_S: Final = 5.0
_CONNECT_S: Final = 5.0
_NAME: Final = re.compile(
    r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
)
_NUMBER: Final = re.compile(r"\d+|0x[0-9a-f]*")

_METADATA: Final = frozenset(
    ipaddress.ip_address(each)
    for each in (
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # the host of an Azure machine
        "169.254.169.254",  # most others
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google Cloud
    )
)
_NEVER: Final = tuple(
    ipaddress.ip_network(each)
    for each in (
        "0.0.0.0/8",  # this network, and the unspecified address, which systems take for loopback
        "169.254.0.0/16",  # link-local
        "192.0.0.0/24",  # protocol assignments, with Oracle's metadata at .192
        "192.0.2.0/24",  # documentation
        "198.51.100.0/24",
        "203.0.113.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",  # benchmarks
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "::/96",  # unspecified and IPv4-compatible; loopback is asked for before
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64 for local use
        "100::/64",  # discard
        "100:0:0:1::/64",
        "2001::/23",  # protocol assignments, with Teredo, benchmarks and ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local
        "ff00::/8",  # multicast
    )
)
_PRIVATE: Final = tuple(
    ipaddress.ip_network(each)
    for each in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7")
)
_GLOBAL_V6: Final = ipaddress.ip_network("2000::/3")


class Forbidden(InvalidInput):
    """An address that may not be called."""


class Unreachable(Failed):
    """No answer: no connection, a broken one, too slow or too much."""

    http_status = 502


def may_be_called(address: str, *, allow_private: bool = False) -> bool:
    """Whether a literal address is one of the public internet, or of a private network where those are allowed.

    Metadata services, link-local and multicast addresses, and those in which another address is wrapped, never are.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.scope_id is not None:
        return False
    if found in _METADATA:
        return False
    if any(_within(found, network) for network in _PRIVATE):
        return allow_private
    if any(_within(found, network) for network in _NEVER):
        return False
    return found.version == 4 or found in _GLOBAL_V6


def _within(address: Address, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    return address.version == network.version and address in network


@dataclass(frozen=True)
class Rules:
    """What may be called."""

    allow_private: bool = False
    """Also loopback and private networks, and those over plain HTTP."""
    resolve: Resolve | None = None
    """None asks the system."""

    def parsed(self, url: str) -> httpx2.URL:
        """The URL; raises Forbidden where its spelling alone says that it may not be called."""
        try:
            found = httpx2.URL(url)
        except (httpx2.InvalidURL, UnicodeError, ValueError) as error:
            raise _no("is not a URL") from error
        if found.scheme not in (("https", "http") if self.allow_private else ("https",)):
            raise _no("must begin with https://")
        if found.userinfo or found.fragment or "@" in url.partition("://")[2].partition("/")[0]:
            raise _no("must have neither a user nor a fragment")
        if found.port is not None and not 1 <= found.port <= 65535:
            raise _no("has a port that there is not")
        if any(ord(char) <= 0x20 or ord(char) == 0x7F or char == "\\" for char in url):
            raise _no("has characters that no URL has")
        self._check_host(found.raw_host.decode("ascii", "replace").lower())
        return found

    async def addresses(self, host: str, port: int) -> list[str]:
        """What a host's name means now; raises Forbidden unless every one of them may be called.

        Raises OSError where it has none.
        """
        name = host.removesuffix(".").lower()
        self._check_host(name)
        try:
            found = [str(ipaddress.ip_address(name))]
        except ValueError:
            async with asyncio.timeout(_RESOLVE_S):
                found = await (self.resolve or resolved)(name, port)
        if not found:
            raise OSError("the name has no address")
        if not all(may_be_called(each, allow_private=self.allow_private) for each in found):
            raise _not_public()
        return found

    async def check(self, url: str) -> str:
        """The URL as it is kept, once its host was looked up; raises Forbidden."""
        found = self.parsed(url)
        try:
            await self.addresses(found.raw_host.decode("ascii"), found.port or 443)
        except OSError as error:  # TimeoutError too
            raise _no("has a host that cannot be found") from error
        return str(found)

    def _check_host(self, host: str) -> None:
        """Raises Forbidden for a host that is no name, no plain address, or an address that may not be called."""
        name = host.removesuffix(".")
        if ":" in name or _NUMBER.fullmatch(name.rpartition(".")[2]):
            try:
                plain = str(ipaddress.ip_address(name))
            except ValueError as error:
                raise _no("has an address that is not written plainly") from error
            if not may_be_called(plain, allow_private=self.allow_private):
                raise _not_public()
        elif not _NAME.fullmatch(name):
            raise _no("has no host")
        elif not self.allow_private and (name == "localhost" or name.endswith(".localhost")):
            raise _not_public()


async def resolved(host: str, port: int) -> list[str]:
    """All addresses that the system knows of a name; raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def guarded(name: str, endpoint: str, *, allow_private: bool) -> Lanes:
    """Connections to a registered model's server, as long as its name leads to where models may be."""
    allowed = Rules(allow_private=allow_private)

    async def dial(host: str, port: int) -> list[str]:
        try:
            return await allowed.addresses(host, port)
        except Forbidden as error:
            raise ModelUnavailable(
                f"the endpoint of model {name!r} leads to an address that may not be called",
                remedy=f"correct models.{name}.endpoint, or see `egress` in the settings",
            ) from error

    return Lanes(tls=endpoint.startswith("https://"), dial=dial)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    retry_after: str | None
    """The header of that name."""


class Egress:
    """Posts to addresses that users chose. Each request has a connection of its own."""

    def __init__(self, rules: Rules, *, timeout_s: float = 15.0, max_bytes: int = 1 << 16) -> None:
        """Args:
        timeout_s: for all of a request, looking up the name included.
        max_bytes: of an answer.
        """
        self.rules = rules
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The status of the answer, whatever it is.

        Raises:
            Forbidden: the address may not be called; nothing was sent.
            Unreachable: there was no answer.
        """
        parsed = self.rules.parsed(url)
        lanes = Lanes(tls=parsed.scheme == "https", dial=self.rules.addresses, max_bytes=self._max_bytes)
        limits = {"timeout": {"connect": _CONNECT_S, "read": self._timeout_s}}
        request = httpx2.Request("POST", parsed, headers=dict(headers), content=body, extensions=limits)
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await lanes.handle_async_request(request)
        except TimeoutError as error:
            raise Unreachable(f"no answer in {self._timeout_s:g} s") from error
        except httpx2.TransportError as error:
            raise Unreachable(_said(error)) from error
        finally:
            await lanes.aclose()
        return Answer(response.status_code, response.headers.get("Retry-After"))


def _said(error: httpx2.TransportError) -> str:
    """The kind of the failure; its text may hold an address."""
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return "no connection"
    if isinstance(error, httpx2.ReadTimeout):
        return "no answer in time"
    return "the connection broke, or the answer was too long"


def _not_public() -> Forbidden:
    return _no("leads to an address that may not be called")


def _no(what: str) -> Forbidden:
    return Forbidden(f"the URL {what}", field="url", remedy="give the https:// URL of a public host")
