"""The player of flows, which every gateway's tests lean on."""

import pytest

from sluiceway import Ambiguous, Flow, Intake, Request, Response, Webhook
from sluiceway.testing import deliver, play


def asking(times: int) -> Flow[int]:
    total = 0
    for n in range(times):
        response = yield Request.get(f"https://api.example/{n}")
        total += response.status
    return total


class Curious(Webhook):
    """Asks back once before it answers, and notes that it verified first."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def verify(self, request: Request) -> None:
        self.calls.append("verify")

    def receive(self, request: Request) -> Flow[Intake]:
        self.calls.append("receive")
        response = yield request
        return Intake(reply=response)


def test_each_request_gets_the_next_answer() -> None:
    total, requests = play(asking(2), Response(status=200), Response(status=201))
    assert total == 401
    assert [request.url for request in requests] == ["https://api.example/0", "https://api.example/1"]


def test_a_flow_may_end_without_a_request() -> None:
    assert play(asking(0)) == (0, [])


def test_an_exception_is_thrown_into_the_flow() -> None:
    with pytest.raises(Ambiguous):
        play(asking(1), Ambiguous("no answer"))


def test_an_answer_too_few_or_too_many_is_a_failed_test() -> None:
    with pytest.raises(AssertionError, match="no answer is scripted for <Request GET"):
        play(asking(1))
    with pytest.raises(AssertionError, match="ended with 1 answers left"):
        play(asking(1), Response(), Response())


def test_a_delivery_is_verified_then_received_with_what_it_asks() -> None:
    webhook = Curious()
    intake = deliver(webhook, Request.get("https://gw.example/"), Response(status=204))
    assert intake.reply.status == 204
    assert webhook.calls == ["verify", "receive"]
