"""What a simulator delivers, in order and each at its time; what follows from a response comes at once."""

from __future__ import annotations

import pytest

from sluiceway import Answer, Later, Request, Response, Simulator
from sluiceway.gateway import Account, Settings
from sluiceway.http.client import Client
from sluiceway.simulator import Story, told
from sluiceway.testing.deliveries import make
from sluiceway.testing.provider import Provider

ACCOUNT = Account(connection="c", tenant="t", address="x-lamp:1")


def post(name: str) -> Request:
    return Request(method="POST", url=f"http://gw.example/{name}")


class Gateway:
    """Answers with 200, and keeps the order."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def exchange(self, request: Request) -> Response:
        path = request.url.rpartition("/")[2]
        self.paths.append(path)
        return Response(status=200, body=path.encode())


def counting(upto: int) -> Story:
    """Delivers as long as it is answered with what it delivered."""
    for number in range(upto):
        response = yield Later(0.0, post(str(number)))
        assert response.body == str(number).encode()


async def test_a_story_goes_on_with_each_response() -> None:
    gateway = Gateway()
    await make(told(counting(3)), gateway.exchange)
    assert gateway.paths == ["0", "1", "2"]


async def test_what_follows_comes_before_what_was_to_come_anyway() -> None:
    gateway = Gateway()
    after = (Later(0.0, post("b")), Later(0.0, post("c")))
    await make((Later(0.0, post("a"), then=lambda response: after), Later(0.0, post("d"))), gateway.exchange)
    assert gateway.paths == ["a", "b", "c", "d"]


def test_a_story_without_deliveries_has_none() -> None:
    assert told(counting(0)) == ()


async def test_what_the_exchange_raises_ends_it() -> None:
    async def refuse(request: Request) -> Response:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await make(told(counting(3)), refuse)


class Lamp(Simulator[Settings, Account]):
    """Delivers where nobody is, and goes on."""

    channel = "lamp"

    def __init__(self) -> None:
        super().__init__(Settings(), "http://127.0.0.1:9/hooks/lamp")
        self.seen: list[int] = []

    def deliver(self, account: Account, sender: str, text: str) -> Request:
        return post("lamp")

    def answer(self, request: Request) -> Answer:
        return Answer(Response(), told(self._story()))

    def _story(self) -> Story:
        for _ in range(2):
            response = yield Later(0.0, Request(method="POST", url="http://127.0.0.1:9/hooks/lamp"))
            self.seen.append(response.status)


async def test_a_response_that_never_came_is_a_502_and_the_story_goes_on() -> None:
    lamp, client = Lamp(), Client()
    provider = Provider(lamp, "127.0.0.1:0")
    await provider.start()
    try:
        await client.exchange(Request.get(f"http://{provider.listen}/"))
        await provider.idle()
    finally:
        await provider.stop()
        await client.close()
    assert (lamp.seen, provider.statuses) == ([502, 502], [])


def test_a_delivery_is_all_that_comes_of_it_unless_a_simulator_says_more() -> None:
    (later,) = Lamp().deliveries(ACCOUNT, "me", "on")
    assert (later.after_s, later.request, later.then) == (0.0, post("lamp"), None)
