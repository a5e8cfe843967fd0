"""How often strangers may deliver, on a clock that stands still; and what they are answered."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sluiceway import Account, Capabilities, Chars, Gateway, Intake, Limit, Rate, Request, Settings, Unverified, Webhook
from sluiceway import throttle as module
from sluiceway.accounts import Accounts
from sluiceway.config import Connection
from sluiceway.http.client import Client
from sluiceway.inbound import Inbound
from sluiceway.throttle import Throttle

ONE, TWO = (Limit(name, Rate(per_second=0.5, burst=2)) for name in ("one", "two"))
ALL = Limit("all", Rate(per_second=1, burst=3))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(clock)


def test_who_has_no_limit_never_waits(throttle: Throttle) -> None:
    assert [throttle.wait_s("c", ()) for _ in range(100)] == [0.0] * 100


def test_after_the_burst_deliveries_are_refused_until_there_is_a_token(throttle: Throttle, clock: Clock) -> None:
    assert [throttle.wait_s("c", [ONE]) for _ in range(4)] == [0.0, 0.0, 2.0, 2.0]
    clock.now += 1.5
    assert throttle.wait_s("c", [ONE]) == 0.5
    clock.now += 0.5
    assert [throttle.wait_s("c", [ONE]) for _ in range(2)] == [0.0, 2.0]


def test_a_pause_saves_up_no_more_than_the_burst(throttle: Throttle, clock: Clock) -> None:
    throttle.wait_s("c", [ONE])
    clock.now += 1000
    assert [throttle.wait_s("c", [ONE]) for _ in range(3)] == [0.0, 0.0, 2.0]


def test_one_keys_deliveries_cost_no_other_key_and_no_other_connection(throttle: Throttle) -> None:
    assert [throttle.wait_s("c", [ONE]) for _ in range(3)] == [0.0, 0.0, 2.0]
    assert throttle.wait_s("c", [TWO]) == throttle.wait_s("d", [ONE]) == 0.0


def test_who_is_over_its_own_limit_takes_nothing_of_the_one_that_all_share(throttle: Throttle) -> None:
    assert [throttle.wait_s("c", [ONE, ALL]) > 0 for _ in range(50)] == [False, False] + [True] * 48
    assert throttle.wait_s("c", [TWO, ALL]) == 0.0
    assert throttle.wait_s("c", [TWO, ALL]) == 1.0


def test_strangers_of_long_ago_are_forgotten_and_what_all_share_is_not(
    throttle: Throttle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BUCKETS", 10)
    for number in range(1000):
        throttle.wait_s("c", [Limit(str(number), Rate(per_second=1)), ALL])
    assert len(throttle._buckets) == 10
    assert throttle.wait_s("c", [ALL]) > 0


class Doves(Gateway[Settings], Webhook):
    """Takes two deliveries of each client; `receive` is never reached where it would break."""

    channel = "dove"
    schemes = ("x-dove",)
    capabilities = Capabilities(text=Chars(10))

    def verify(self, request: Request) -> None:
        if request.body == b"forged":
            raise Unverified("forged")

    def limits(self, request: Request) -> tuple[Limit, ...]:
        return (Limit(request.client, Rate(per_second=0.001, burst=2)),)

    def receive(self, request: Request) -> Intake:
        return Intake(discarded=True)

    def answer_headers(self, request: Request) -> Mapping[str, str]:
        return {"vary": "Origin"}


async def test_over_a_limit_the_answer_is_429_with_the_gateways_headers_and_says_when() -> None:
    connection = Connection(name="c", gateway="dove.post", hook="c", type=Doves, settings=Settings())
    account = Account(connection="c", tenant="acme", address="x-dove:north")
    http = Client()
    inbound = Inbound(Accounts({"c": connection}, {"n": account}, "http://x.example", "file"), http)
    inbound.facts = object()  # type: ignore[assignment]  # nothing of this test is stored
    request = Request(method="POST", url="http://x.example/hooks/c", client="198.51.100.1")
    forged = Request(method="POST", url=request.url, client=request.client, body=b"forged")
    assert [(await inbound.deliver(["c"], forged)).status for _ in range(9)] == [403] * 9
    answers = [await inbound.deliver(["c"], request) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].headers == {"retry-after": "1000", "vary": "Origin"}
    assert (await inbound.deliver(["c"], forged)).headers == {"vary": "Origin"}
    await http.close()
