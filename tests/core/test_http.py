"""The HTTP server and the client against raw sockets: what is slow, broken, too large, or never answers."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import email.utils
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import Ambiguous, SendError, Throttled, Unreachable
from sluiceway.gateway import Flow
from sluiceway.http import body as body_module
from sluiceway.http import client as client_module
from sluiceway.http import server as server_module
from sluiceway.http.client import Client, retry_after_s
from sluiceway.http.server import Page, Route, Server, paths
from sluiceway.testing.ports import free_port
from sluiceway.wire import Request, Response

from .conftest import until

LIMIT = 1 << 20


class Echo:
    """Answers with what it was sent, and remembers it."""

    methods = frozenset({"POST", "PUT"})
    max_body_bytes = LIMIT

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.gate = asyncio.Event()

    async def answer(self, request: Request) -> Response:
        self.requests.append(request)
        if request.subpath == "waits":
            await self.gate.wait()
        if request.subpath == "broken":
            raise ZeroDivisionError("canary")
        return Response(status=201, headers={"x-echo": request.subpath}, body=request.body)


class Peer:
    """A raw connection to the server under test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        async with asyncio.timeout(30):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return int(status.split()[1]), headers, body

    async def ask(self, data: bytes) -> int:
        await self.write(data)
        return (await self.answer())[0]

    async def ended(self) -> bytes:
        """What comes until the server closes."""
        async with asyncio.timeout(30):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""

    def leave(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def peer(listen: str) -> AsyncIterator[Peer]:
    host, _, port = listen.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def server(echo: Echo) -> AsyncIterator[Server]:
    def find(path: str) -> tuple[Route, str] | None:
        return (echo, path.removeprefix("/echo/")) if path.startswith("/echo/") else None

    server = Server("127.0.0.1:0", find, "https://hooks.example/")
    await server.start()
    yield server
    await server.stop()


def a_post(body: bytes = b"hello", path: str = "/echo/sub", extra: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{extra}\r\n".encode() + body


CHUNKED = b"POST /echo/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_a_request_is_handed_on_as_a_value(server: Server, echo: Echo) -> None:
    async with peer(server.listen) as one:
        await one.write(a_post(b"hello", "/echo/a/b?c=%2F&d", "X-Twice: 1\r\nx-twice: 2\r\n"))
        status, headers, body = await one.answer()
    assert (status, headers["x-echo"], body) == (201, "a/b", b"hello")
    (request,) = echo.requests
    assert (request.method, request.subpath, request.body) == ("POST", "a/b", b"hello")
    assert request.url == "https://hooks.example/echo/a/b?c=%2F&d"
    assert request.headers["x-twice"] == "1, 2"


async def test_one_connection_takes_many_requests(server: Server) -> None:
    async with peer(server.listen) as one:
        assert [await one.ask(a_post()) for _ in range(5)] == [201] * 5


async def test_requests_that_come_at_once_are_answered_in_order(server: Server) -> None:
    async with peer(server.listen) as one:
        await one.write(b"".join(a_post(str(n).encode()) for n in range(5)))
        assert [(await one.answer())[2] for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_body_in_pieces_is_whole(server: Server) -> None:
    async with peer(server.listen) as one:
        await one.write(CHUNKED + b"5\r\nhello\r\n")
        await asyncio.sleep(0.05)
        await one.write(b"6\r\n world\r\n0\r\n\r\n")
        assert (await one.answer())[2] == b"hello world"


async def test_an_empty_body_is_empty(server: Server) -> None:
    async with peer(server.listen) as one:
        assert await one.ask(b"POST /echo/x HTTP/1.1\r\nhost: x\r\n\r\n") == 201


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 201), (LIMIT + 1, 413)])
async def test_a_body_has_so_many_bytes_and_no_more(server: Server, size: int, status: int) -> None:
    async with peer(server.listen) as one:
        assert await one.ask(a_post(b"x" * size)) == status


async def test_a_chunked_body_that_grows_too_large_is_refused(server: Server, echo: Echo) -> None:
    async with peer(server.listen) as one:
        await one.write(CHUNKED)
        for _ in range(2 << 4):
            await one.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        assert (await one.answer())[0] == 413
    assert echo.requests == []


async def test_a_small_body_that_inflates_too_far_is_refused(server: Server, echo: Echo) -> None:
    async with peer(server.listen) as one:
        bomb = gzip.compress(b"\0" * (64 << 20))
        assert len(bomb) < LIMIT
        assert await one.ask(a_post(bomb, extra="content-encoding: gzip\r\n")) == 413
    assert echo.requests == []


@pytest.mark.parametrize("start", [a_post(b"x" * 10)[:-5], CHUNKED + b"5\r\nhe"])
async def test_a_body_that_does_not_come_in_time_is_cut_off(
    server: Server, echo: Echo, start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_module, "BODY_TIMEOUT_S", 0.1)
    async with peer(server.listen) as one:
        assert await one.ask(start) == 408
    assert echo.requests == []


async def test_headers_that_never_end_are_cut_off(monkeypatch: pytest.MonkeyPatch, echo: Echo) -> None:
    monkeypatch.setattr(server_module, "IDLE_TIMEOUT_S", 0.3)
    server = Server("127.0.0.1:0", lambda path: (echo, path))
    await server.start()
    async with peer(server.listen) as slow, peer(server.listen) as silent:
        ends = asyncio.gather(slow.ended(), silent.ended())
        with contextlib.suppress(ConnectionError):
            await slow.write(b"POST /echo/x HTTP/1.1\r\nx-slow: ")
            while not ends.done():
                await slow.write(b"x")
                await asyncio.sleep(0.02)
        assert list(await ends) == [b"", b""]
    await server.stop()


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 garbage\r\n\r\n",
        b"\r\n\r\n\0\0\0\0 \r\n\r\n",
        b"POST /echo/x HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /echo/x HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"POST /echo/x HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\nx",
        b"POST /echo/x HTTP/1.1\r\nhost: x\r\n" + b"x-long: " + b"y" * 40_000 + b"\r\n\r\n",
        b"POST /echo/" + b"y" * 40_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /echo/x HTTP/1.1\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(5000)) + b"\r\n",
        CHUNKED + b"not a length\r\n",
        CHUNKED + b"5\r\nhello\r\nnot a length\r\n",
        a_post(b"not gzip", extra="content-encoding: gzip\r\n"),
    ],
)
async def test_what_is_no_http_is_refused_and_hurts_nobody_else(server: Server, echo: Echo, data: bytes) -> None:
    async with peer(server.listen) as bad, peer(server.listen) as good:
        assert await bad.ask(data) == 400
        assert await good.ask(a_post()) == 201
    assert len(echo.requests) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
async def test_a_method_that_a_route_does_not_take_is_told_which_it_does(server: Server, method: str) -> None:
    async with peer(server.listen) as one:
        await one.write(f"{method} /echo/x HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        status, headers, _ = await one.answer()
    assert (status, headers["allow"]) == (405, "POST, PUT")


async def test_a_path_that_nobody_serves_is_not_found(server: Server) -> None:
    async with peer(server.listen) as one:
        assert await one.ask(a_post(path="/elsewhere")) == 404


async def test_a_route_that_breaks_is_500_and_the_next_request_is_answered(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    async with peer(server.listen) as one, peer(server.listen) as next:
        await one.write(a_post(path="/echo/broken"))
        status, _, body = await one.answer()
        assert (status, body) == (500, b"")
        assert await next.ask(a_post()) == 201


async def test_one_who_leaves_in_the_middle_hurts_nobody_else(server: Server, echo: Echo) -> None:
    async with peer(server.listen) as one:
        await one.write(a_post(b"x" * 100_000)[:-5])
        await asyncio.sleep(0.05)
        one.leave()
    async with peer(server.listen) as next:
        assert await next.ask(a_post()) == 201
    assert [request.body for request in echo.requests] == [b"hello"]


async def test_a_server_that_stops_answers_what_it_has_begun(server: Server, echo: Echo) -> None:
    async with peer(server.listen) as one:
        await one.write(a_post(path="/echo/waits"))
        await until(lambda: echo.requests, "the request is being answered")
        stopping = asyncio.create_task(server.stop())
        await until(lambda: refuses(server.listen), "nothing more is accepted")
        assert not stopping.done()
        echo.gate.set()
        assert (await one.answer())[0] == 201
        await stopping


async def refuses(listen: str) -> bool:
    try:
        async with peer(listen):
            return False
    except OSError:
        return True


async def test_an_address_that_is_taken_is_an_error(server: Server) -> None:
    with pytest.raises(OSError, match="address already in use"):
        await Server(server.listen, lambda path: None).start()


async def test_a_server_that_never_started_can_be_stopped() -> None:
    await Server("127.0.0.1:0", lambda path: None).stop()


async def test_an_ipv6_address_is_listened_on() -> None:
    server = Server("[::1]:0", lambda path: None)
    await server.start()
    host, _, port = server.listen.rpartition(":")
    assert (host, await served(f"[::1]:{port}")) == ("[::1]", 404)
    await server.stop()


async def served(listen: str) -> int:
    client = Client()
    status = (await client.exchange(Request.get(f"http://{listen}/"))).status
    await client.close()
    return status


async def test_pages_are_served_by_their_exact_path() -> None:
    routes: dict[str, Route] = {"/x": Page(lambda: Response(body=b"page"))}
    server = Server("127.0.0.1:0", paths(routes))
    await server.start()
    async with peer(server.listen) as one:
        await one.write(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await one.answer())[2] == b"page"
        assert await one.ask(b"GET /x/ HTTP/1.1\r\nhost: x\r\n\r\n") == 404
        assert await one.ask(a_post(path="/x")) == 405
    await server.stop()


# The client


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LAST = OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")


class Raw:
    """A provider that behaves as told: `behave` is called with each connection and its number."""

    def __init__(self, behave: Behaviour) -> None:
        self.connections = 0
        self._behave = behave
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            await self._behave(reader, writer, self.connections)
        finally:
            writer.transport.abort()


@asynccontextmanager
async def provider(behave: Behaviour) -> AsyncIterator[tuple[Raw, str]]:
    raw = Raw(behave)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    try:
        yield raw, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/messages"
    finally:
        server.close()


def answering(*answers: bytes) -> Behaviour:
    """Reads a request and gives the next answer on each connection; with no more answers it only closes."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if number <= len(answers):
            writer.write(answers[number - 1])
            await writer.drain()

    return behave


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setattr(client_module, "REPEATS_S", (0.0, 0.0))
    client = Client()
    yield client
    await client.close()


def a_send(url: str, repeatable: bool = False) -> Request:
    return Request.post_form(url, [("Body", "Hello")], repeatable=repeatable)


async def test_an_answer_is_a_value(client: Client) -> None:
    async with provider(answering(b"HTTP/1.1 404 No\r\nX-Y: z\r\ncontent-length: 2\r\n\r\n{}")) as (_, url):
        response = await client.exchange(a_send(url))
    assert (response.status, response.headers["x-y"], response.body) == (404, "z", b"{}")


@pytest.mark.parametrize("repeatable", [False, True])
async def test_where_nobody_listens_nothing_was_written(client: Client, repeatable: bool) -> None:
    with pytest.raises(Unreachable, match="nothing was written: ClientConnectorError"):
        await client.exchange(a_send(f"http://127.0.0.1:{free_port()}/", repeatable))


@pytest.mark.parametrize("url", ["http://[::bad/", "nowhere", "ftp://x.example/", "http://name.invalid/", ""])
async def test_an_address_that_is_none_is_unreachable(client: Client, url: str) -> None:
    with pytest.raises(Unreachable):
        await client.exchange(a_send(url))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n" + b"x" * 2_000_000,
    ],
)
async def test_a_request_that_was_written_and_has_no_usable_answer_is_ambiguous(client: Client, answer: bytes) -> None:
    async with provider(answering(answer)) as (raw, url):
        with pytest.raises(Ambiguous, match="the request was written, then: "):
            await client.exchange(a_send(url))
        assert raw.connections == 1, "it is never made again"


async def test_a_provider_that_never_answers_is_ambiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "ANSWER_TIMEOUT_S", 0.2)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await reader.read()

    client = Client()
    async with provider(silent) as (_, url):
        with pytest.raises(Ambiguous, match="TimeoutError"):
            await client.exchange(a_send(url))
    await client.close()


async def test_a_large_request_is_streamed_and_arrives_whole(client: Client, server: Server, echo: Echo) -> None:
    body = b"x" * (client_module.STREAMED_BYTES + 1)
    response = await client.exchange(Request(method="POST", url=f"http://{server.listen}/echo/x", body=body))
    assert response.body == body


async def test_a_redirect_is_not_followed(client: Client) -> None:
    elsewhere = b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"
    async with provider(answering(elsewhere)) as (raw, url):
        assert (await client.exchange(a_send(url))).status == 302
        assert raw.connections == 1


async def test_cookies_are_not_kept(client: Client, server: Server, echo: Echo) -> None:
    async with provider(answering(b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n")) as (_, url):
        await client.exchange(a_send(url))
    await client.exchange(a_send(f"http://{server.listen}/echo/x"))
    assert "cookie" not in echo.requests[0].headers


def too_many(retry_after: str) -> bytes:
    return f"HTTP/1.1 429 No\r\ncontent-length: 0\r\n{retry_after}\r\n".encode()


@pytest.mark.parametrize(
    ("retry_after", "least_s", "most_s"),
    [
        ("Retry-After: 7\r\n", 7, 7),
        ("retry-after: {in_two_hours}\r\n", 3600, 7200),
        ("retry-after: Tue, 01 Jan 2199 00:00:00 GMT\r\n", None, None),
        ("retry-after: 1700000000\r\n", None, None),
        ("retry-after: " + "9" * 400 + "\r\n", None, None),
        ("retry-after: Mon, 1 Jan 99999999999999999999 00:00:00 GMT\r\n", None, None),
        ("retry-after: Wed, 21 Oct 2015 07:28:00 GMT\r\n", 0, 0),
        ("retry-after: soon\r\n", None, None),
        ("", None, None),
    ],
)
async def test_too_many_requests_says_how_long_to_wait(
    client: Client, retry_after: str, least_s: float | None, most_s: float | None
) -> None:
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)
    retry_after = retry_after.format(in_two_hours=email.utils.format_datetime(later))
    async with provider(answering(too_many(retry_after))) as (raw, url):
        with pytest.raises(Throttled) as caught:
            await client.exchange(a_send(url, repeatable=True))
        assert raw.connections == 1
    wait_s = caught.value.retry_after_s
    if least_s is None or most_s is None:
        assert wait_s is None
    else:
        assert wait_s is not None
        assert least_s <= wait_s <= most_s


@given(st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{1,6} [0-9:]{1,9} \S{0,6}"))
def test_whatever_a_provider_writes_there_is_a_wait_or_none(value: str) -> None:
    wait_s = retry_after_s(value)
    assert wait_s is None or wait_s >= 0


async def test_a_repeatable_request_is_made_again(client: Client) -> None:
    async with provider(answering(b"", b"HTTP/1.1 2", OK)) as (raw, url):
        assert (await client.exchange(a_send(url, repeatable=True))).body == b"ok"
        assert raw.connections == 3


async def test_a_repeatable_request_is_not_made_for_ever(client: Client) -> None:
    async with provider(answering()) as (raw, url):
        with pytest.raises(Ambiguous):
            await client.exchange(a_send(url, repeatable=True))
        assert raw.connections == 3


async def test_a_server_error_is_an_answer_and_not_asked_again(client: Client) -> None:
    async with provider(answering(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")) as (raw, url):
        assert (await client.exchange(a_send(url, repeatable=True))).status == 503
        assert raw.connections == 1


async def test_a_flow_is_sent_responses_and_returns_its_result(client: Client) -> None:
    def flow(url: str) -> Flow[list[bytes]]:
        bodies = []
        for _ in range(3):
            response = yield a_send(url)
            bodies.append(response.body)
        return bodies

    async with provider(answering(LAST, LAST, LAST)) as (_, url):
        assert await client.play(flow(url)) == [b"ok"] * 3


@pytest.mark.parametrize(
    ("answer", "error"), [(b"", Ambiguous), (too_many("retry-after: 1\r\n"), Throttled), (None, Unreachable)]
)
async def test_a_flow_is_thrown_what_happened_and_may_go_on(
    client: Client, answer: bytes | None, error: type[SendError]
) -> None:
    def flow(url: str) -> Flow[str]:
        with pytest.raises(SendError) as caught:
            yield a_send(url)
        response = yield a_send(good)
        return f"{caught.type.__name__} {response.status}"

    async with provider(answering(OK)) as (_, good), provider(answering(answer or b"")) as (_, url):
        first = url if answer is not None else f"http://127.0.0.1:{free_port()}/"
        assert await client.play(flow(first)) == f"{error.__name__} 200"


async def test_a_flow_that_minds_nothing_raises_what_happened(client: Client) -> None:
    def flow(url: str) -> Flow[None]:
        yield a_send(url)

    async with provider(answering()) as (_, url):
        with pytest.raises(Ambiguous):
            await client.play(flow(url))


async def test_where_a_close_crosses_the_request_nothing_that_arrived_counts_as_unwritten(client: Client) -> None:
    """The provider closes after each answer without saying so: what the pool then hands out may be dead already."""
    seen = 0

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        nonlocal seen
        await reader.readuntil(b"Hello")
        seen += 1
        writer.write(OK)
        await writer.drain()

    outcomes: list[type] = []
    async with provider(closing) as (_, url):
        for _ in range(200):
            try:
                outcomes.append(type(await client.exchange(a_send(url))))
            except SendError as error:
                outcomes.append(type(error))
    assert outcomes.count(Response) <= seen <= outcomes.count(Response) + outcomes.count(Ambiguous)
    assert Unreachable in outcomes, "a close that was noticed in time is no lost answer"


async def test_a_connection_too_many_is_told_so_and_there_is_room_again_when_one_ends(echo: Echo) -> None:
    server = Server("127.0.0.1:0", lambda path: (echo, path), max_connections=2)
    await server.start()
    async with peer(server.listen) as first, peer(server.listen) as second:
        assert await first.ask(a_post()) == 201
        assert await second.ask(a_post()) == 201
        async with peer(server.listen) as third:
            status, headers, _ = await third.answer()
            assert (status, headers["retry-after"], headers["connection"]) == (503, "5", "close")
            assert await third.ended() == b""
        assert await first.ask(a_post()) == 201, "those who are in are served"
        second.leave()

        async def room() -> bool:
            async with peer(server.listen) as another:
                await another.write(a_post())
                return (await another.answer())[0] == 201

        await until(room, "there is room again")
    await server.stop()


async def test_headers_that_dribble_hold_their_place_only_for_so_long(
    monkeypatch: pytest.MonkeyPatch, echo: Echo
) -> None:
    monkeypatch.setattr(server_module, "IDLE_TIMEOUT_S", 0.3)
    server = Server("127.0.0.1:0", lambda path: (echo, path), max_connections=1)
    await server.start()
    async with peer(server.listen) as slow:
        await slow.write(b"POST /echo/x HTTP/1.1\r\nx-slow: ")

        async def room() -> bool:
            with contextlib.suppress(ConnectionError):
                await slow.write(b"x")
            async with peer(server.listen) as another:
                try:
                    await another.write(a_post())
                    return (await another.answer())[0] == 201
                except (ConnectionError, asyncio.IncompleteReadError):
                    return False

        await until(room, "the place is free")
    await server.stop()
