"""Which addresses may be called, in every spelling, and that nothing else is connected to."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.engines import Engines
from solon.egress import Egress, Forbidden, Resolve, Rules, Unreachable, may_be_called
from solon.errors import ModelUnavailable
from solon.records import Message
from solon.settings import Settings

PUBLIC = ("1.1.1.1", "8.8.8.8", "93.184.215.14", "172.15.255.255", "172.32.0.1", "192.167.255.255", "100.63.255.255",
          "100.128.0.1", "198.17.255.255", "198.20.0.1", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450::1",
          "2001:4860:4860::8888", "2620:fe::fe")  # fmt: skip
PRIVATE = ("127.0.0.1", "127.255.255.254", "127.1.2.3", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255",
           "192.168.0.1", "192.168.255.255", "100.64.0.1", "100.127.255.255", "::1", "fc00::1", "fd12:3456::1",
           "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")  # fmt: skip
NEVER = ("0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "169.254.170.2", "100.100.100.200", "168.63.129.16",
         "192.0.0.192", "192.0.0.8", "192.0.2.1", "198.51.100.7", "203.0.113.9", "192.88.99.1", "198.18.0.1",
         "198.19.255.255", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::7f00:1",
         "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:1.1.1.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
         "64:ff9b::1.1.1.1", "64:ff9b::169.254.169.254", "64:ff9b:1::1", "64:ff9b:1:ffff::a00:1", "100::1",
         "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1",
         "2002:7f00:1::", "2002:a00:1::1", "2002:101:101::1", "3fff::1", "5f00::1", "fd00:ec2::254", "fd20:ce::254",
         "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "ff02::1", "ff0e::1", "4000::1", "e000::1")  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_called(address: str):
    assert may_be_called(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_may_be_called_where_that_is_allowed(address: str):
    assert not may_be_called(address)
    assert may_be_called(address, allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_may_never_be_called(address: str):
    assert not may_be_called(address)
    assert not may_be_called(address, allow_private=True)


@given(st.ip_addresses(v=4))
def test_every_address_that_may_be_called_is_global(address: ipaddress.IPv4Address):
    if may_be_called(str(address)):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
def test_no_address_may_be_called_wrapped_in_another(address: ipaddress.IPv4Address):
    number = int(address)
    for prefix in ("::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::"):
        wrapped = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) + number)
        assert not may_be_called(str(wrapped), allow_private=False)
    for shifted in (0x2002 << 112 | number << 80, 0x20010000 << 96 | number << 64 | number ^ 0xFFFFFFFF):
        assert not may_be_called(str(ipaddress.IPv6Address(shifted)), allow_private=True)


def spellings(address: str) -> set[str]:
    """Ways to write an IPv4 address that some resolver understands."""
    a, b, c, d = (int(part) for part in address.split("."))
    number = (a << 24) + (b << 16) + (c << 8) + d
    parts = {
        f"{number}", f"0x{number:x}", f"0X{number:X}", f"0{number:o}", f"{a}.{(b << 16) + (c << 8) + d}",
        f"{a}.{b}.{(c << 8) + d}", f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a:03d}.{b:03d}.{c:03d}.{d:03d}", f"0x{a:x}.{b}.0{c:o}.{d}", f"{a}.{b}.{c}.{d}.", f"{number}.",
        f"0x{number:08x}.", f"{a}。{b}。{c}。{d}",
        f"{a}\uff0e{b}\uff0e{c}\uff0e{d}", f"{a}｡{b}｡{c}｡{d}", f"{a}.{b}.{c}.0x{d:x}",
        f"%{ord(str(a)[0]):x}{str(a)[1:]}.{b}.{c}.{d}", f"{a}.{b}.{c}.{d}%00", f"{a}.{b}.{c}.{d}%20",
        f"00{a:o}.{b}.{c}.{d}", f"{a}..{b}.{c}.{d}", f" {a}.{b}.{c}.{d}", f"{a}.{b}.{c}.{d}\t",
        "".join(chr(0xFF10 + int(digit)) if digit.isdigit() else digit for digit in address),
        "".join("⓪①②③④⑤⑥⑦⑧⑨"[int(digit)] if digit.isdigit() else digit for digit in address),
        "".join(chr(0x1D7D8 + int(digit)) if digit.isdigit() else digit for digit in address),
    }  # fmt: skip
    wrapped = {
        f"[::ffff:{address}]", f"[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]", f"[::{address}]",
        f"[::{number >> 16:x}:{number & 0xFFFF:x}]", f"[64:ff9b::{address}]", f"[64:ff9b:1::{address}]",
        f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::]", f"[::ffff:0:{address}]", f"[0:0:0:0:0:ffff:{address}]",
        f"[::ffff:{address}%25lo]", f"[::ffff:{address}%lo]", f"[::FFFF:{address}]",
    }  # fmt: skip
    return parts | wrapped


HIDDEN = sorted(
    f"https://{spelling}{end}"
    for address in ("127.0.0.1", "169.254.169.254", "10.1.2.3", "192.168.0.1", "0.0.0.0", "100.100.100.200")
    for spelling in spellings(address)
    for end in ("/", ":8443/hook")
)
STRANGE = (
    "", "https:", "https://", "https:///x", "//example.org/", "example.org", "file:///etc/passwd", "gopher://example.org",
    "unix:/run/x.sock", "http+unix://x", "ftp://example.org", "javascript:alert(1)", "data:text/plain,x",
    "http://example.org/", "HTTP://example.org/", "https://user@example.org/", "https://user:pass@example.org/",
    "https://:@example.org/", "https://@example.org/", "https://example.org@127.0.0.1/", "https://example.org#x",
    "https://localhost/", "https://LOCALHOST/", "https://localhost./", "https://a.localhost/", "https://\uff4cocalhost/",
    "https://[::1]/", "https://[::]/", "https://[0:0:0:0:0:0:0:1]/", "https://[::1%25lo]/", "https://[fe80::1%25eth0]/",
    "https://[fd00:ec2::254]/", "https://[::1/", "https://::1/", "https://[1]/", "https://[::127.0.0.1]/",
    "https://example.org:0/", "https://example.org:65536/", "https://example.org:-1/", "https://example.org:x/",
    "https://exa mple.org/", "https://example.org\\@127.0.0.1/", "https://example..org/", "https://.example.org/",
    "https://-example.org/", "https://example.org\n/", "https://example.org\r\nHost: x/", "https://exam%70le.org/",
    "https://example.org%00.evil.org/", "https://" + "a" * 64 + ".org/", "https://" + "a." * 127 + "orgs/",
    "https://1.2.3.4.5/", "https://256.1.1.1/", "https://1.1.1/", "https://0x/", "https://example.0x7f/",
    "https://example.123/", "https://*/", "https://*.example.org/", "https://$(host)/",
)  # fmt: skip


async def everywhere(_: str, __: int) -> list[str]:
    """Whatever the name, it is a public host: only the spelling can be what is refused."""
    return ["93.184.215.14"]


async def test_a_url_that_hides_an_address_or_is_none_is_refused():
    assert len(HIDDEN) + len(STRANGE) > 450
    for url in (*HIDDEN, *STRANGE):
        with pytest.raises(Forbidden) as caught:
            pytest.fail(f"let through: {await Rules(resolve=everywhere).check(url)}")
        assert caught.value.field == "url"
        assert not any(part in caught.value.message for part in ("127", "169", "passwd", "evil"))


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://example.org", "https://example.org"),
        ("https://Example.ORG:8443/a/b?c=d", "https://example.org:8443/a/b?c=d"),
        ("https://example.org./hook", "https://example.org./hook"),
        ("https://faß.example/", "https://xn--fa-hia.example/"),
        ("https://bücher.example。org/", "https://xn--bcher-kva.example.org/"),
        ("https://a_b.example.org/", "https://a_b.example.org/"),
        ("https://93.184.215.14/", "https://93.184.215.14/"),
        ("https://[2606:4700:4700::1111]/", "https://[2606:4700:4700::1111]/"),
        ("https://127.0.0.1.example.org/", "https://127.0.0.1.example.org/"),
    ],
)
async def test_a_url_of_a_public_host_is_kept(url: str, kept: str):
    assert await Rules(resolve=everywhere).check(url) == kept


def resolving(*answers: list[str]) -> tuple[Resolve, list[str]]:
    """A resolver that gives one answer after the other, and what it was asked."""
    asked: list[str] = []

    async def resolve(host: str, _: int) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return resolve, asked


async def test_one_bad_address_among_several_is_enough():
    for bad in (*PRIVATE, *NEVER):
        resolve, _ = resolving(["93.184.215.14", bad, "1.1.1.1"])
        with pytest.raises(Forbidden):
            await Rules(resolve=resolve).check("https://example.org/")


@pytest.mark.parametrize("failure", [OSError("no such host"), TimeoutError()])
async def test_a_name_that_cannot_be_found_is_refused(failure: OSError):
    async def resolve(_: str, __: int) -> list[str]:
        raise failure

    with pytest.raises(Forbidden, match="cannot be found"):
        await Rules(resolve=resolve).check("https://example.org/")


class Server:
    """A real HTTP server on loopback that answers everything alike, and counts connections."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.connections = 0
        self.requests: list[bytes] = []
        self.port = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def served(answer: bytes) -> AsyncGenerator[Server]:
    server = Server(answer)
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ALLOWED = Rules(allow_private=True)


async def test_a_name_that_changes_its_answer_after_the_check_is_not_connected_to():
    resolve, asked = resolving(["93.184.215.14"], ["127.0.0.1"])
    rules = Rules(resolve=resolve)
    async with served(OK) as server:
        url = await rules.check(f"https://example.org:{server.port}/")
        with pytest.raises(Forbidden):
            await Egress(rules).post(url, b"{}", {})
        assert (server.connections, len(asked)) == (0, 2)


async def test_the_connection_goes_to_the_address_that_was_checked_and_the_name_is_asked_once():
    resolve, asked = resolving(["127.0.0.1"], ["192.0.2.1"])
    rules = Rules(allow_private=True, resolve=resolve)
    async with served(OK) as server:
        answer = await Egress(rules).post(f"http://receiver.example:{server.port}/hook", b"{}", {"X-A": "b"})
        assert answer.status == 200
        assert asked == ["receiver.example"]
        assert b"\r\nHost: receiver.example:" in server.requests[0].replace(b"host:", b"Host:")


@pytest.mark.parametrize("bad", ["http://127.0.0.1:{port}/", "https://[::1]:{port}/", "https://localhost:{port}/"])
async def test_a_row_put_into_the_database_by_hand_is_refused_at_the_connection(bad: str):
    async with served(OK) as server:
        with pytest.raises(Forbidden):
            await Egress(Rules()).post(bad.format(port=server.port), b"{}", {})
        assert server.connections == 0


async def test_a_redirect_is_an_answer_and_is_not_followed():
    async with served(OK) as target:
        there = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{target.port}/\r\nContent-Length: 0\r\n\r\n"
        async with served(there.encode()) as server:
            answer = await Egress(ALLOWED).post(f"http://127.0.0.1:{server.port}/", b"{}", {})
        assert (answer.status, target.connections) == (302, 0)


async def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch):
    async with served(OK) as proxy, served(OK) as server:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await Egress(ALLOWED).post(f"http://127.0.0.1:{server.port}/", b"{}", {})).status == 200
        assert (proxy.connections, server.connections) == (0, 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH secret banner\r\n",
        b"",
    ],
)
async def test_an_answer_that_is_too_long_or_none_is_a_failure_that_shows_nothing_of_it(answer: bytes):
    async with served(answer) as server:
        with pytest.raises(Unreachable) as caught:
            await Egress(ALLOWED, max_bytes=1000).post(f"http://127.0.0.1:{server.port}/", b"{}", {})
    assert "secret" not in str(caught.value)
    assert str(server.port) not in str(caught.value)


async def test_a_server_that_says_nothing_is_given_up():
    closed = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        closed.set()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable, match="no answer"):
            await Egress(ALLOWED, timeout_s=0.1).post(f"http://127.0.0.1:{port}/", b"{}", {})
        await closed.wait()


async def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match="no connection"):
        await Egress(ALLOWED).post(f"http://127.0.0.1:{port}/", b"{}", {})


async def test_a_certificate_is_checked_against_the_name_and_not_the_address(monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[object, ...]] = []

    async def connect(host: str, port: int, *, ssl: ssl.SSLContext, server_hostname: str) -> None:
        seen.append((host, port, server_hostname, ssl.check_hostname, ssl.verify_mode.name))
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio, "open_connection", connect)
    with pytest.raises(Unreachable):
        await Egress(Rules(resolve=everywhere)).post("https://bücher.example.:444/", b"{}", {})
    assert seen == [("93.184.215.14", 444, "xn--bcher-kva.example", True, "CERT_REQUIRED")]


@pytest.mark.parametrize(
    ("endpoint", "private"),
    [("http://169.254.169.254/v1", "true"), ("http://[::ffff:127.0.0.1]/v1", "true"), ("http://127.0.0.1/v1", "false")],
)
async def test_a_registered_model_is_not_called_where_none_may_be(endpoint: str, private: str):
    entry = f'{{kind: judge, engine: vllm, endpoint: "{endpoint}"}}'
    settings = Settings.load(overrides=[f"models.far={entry}", f"egress.models_private={private}"], environment={})
    async with Engines(settings) as engines:
        judge = await engines.chat("far")
        with pytest.raises(ModelUnavailable, match="may not be called"):
            await judge.complete((Message(role="user", content="x"),), max_tokens=1)


async def test_the_transport_tries_the_next_address_where_one_does_not_answer():
    resolve, _ = resolving(["127.0.0.9", "127.0.0.1"])
    async with served(OK) as server:
        rules = Rules(allow_private=True, resolve=resolve)
        assert (await Egress(rules).post(f"http://two.example:{server.port}/", b"", {})).status == 200
