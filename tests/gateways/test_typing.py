"""That somebody is typing, as each provider is told it, and as each simulator takes it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgspec
import pytest

from sluiceway import Account, Action, Actor, Request, Response, WindowClosed
from sluiceway.simulator import AnySimulator
from sluiceway.testing import play
from sluiceway_contracts import TypingSet
from sluiceway_gateways.instagram.meta_simulator import InstagramSimulator
from sluiceway_gateways.messenger.meta_simulator import MessengerSimulator
from sluiceway_gateways.whatsapp.cloud_simulator import WhatsAppSimulator

from . import messaging, whatsapp, whatsapp_openapi

METAS = whatsapp_openapi.validator()
OURS = jsonschema.Draft202012Validator(json.loads(whatsapp.sample("request.schema")))
DONE = Response.of_json({"success": True})
MESSENGER = (messaging.MESSENGER, messaging.PAGE, messaging.CUSTOMER)
INSTAGRAM = (messaging.INSTAGRAM, messaging.PROFILE, messaging.FOLLOWER)
WHATSAPP = (whatsapp.GATEWAY, whatsapp.NUMBER, whatsapp.CUSTOMER)
Channel = tuple[Actor, Account, str]


def asked(channel: Channel, state: str, *answers: Response) -> list[Request]:
    """What the provider is asked."""
    gateway, account, customer = channel
    command = TypingSet(state=state)
    _, requests = play(
        gateway.act(Action(account=account, recipient=customer, target="THEIRS", command=command)), *answers
    )
    return requests


def body(request: Request) -> dict[str, Any]:
    return request.json(dict[str, Any])


@pytest.mark.parametrize("channel", [MESSENGER, INSTAGRAM, WHATSAPP], ids=["messenger", "instagram", "whatsapp"])
def test_a_gateway_that_can_says_so(channel: Channel) -> None:
    assert TypingSet in channel[0].acts


class TestWhatsApp:
    def test_shows_it_on_the_message_that_is_being_answered(self) -> None:
        (request,) = asked(WHATSAPP, "started", DONE)
        assert body(request) == {
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": "THEIRS",
            "typing_indicator": {"type": "text"},
        }

    def test_takes_it_by_metas_own_document(self) -> None:
        (request,) = asked(WHATSAPP, "started", DONE)
        METAS.validate(body(request))
        OURS.validate(body(request))

    def test_ends_it_by_itself(self) -> None:
        assert asked(WHATSAPP, "stopped") == []

    def test_refuses_it_by_its_table(self) -> None:
        with pytest.raises(WindowClosed):
            asked(WHATSAPP, "started", Response.of_json({"error": {"code": 131047}}, 400))


@pytest.mark.parametrize("channel", [MESSENGER, INSTAGRAM], ids=["messenger", "instagram"])
class TestMessengerAndInstagram:
    @pytest.mark.parametrize(("state", "action"), [("started", "typing_on"), ("stopped", "typing_off")])
    def test_show_it_and_end_it(self, channel: Channel, state: str, action: str) -> None:
        (request,) = asked(channel, state, DONE)
        assert body(request) == {"recipient": {"id": channel[2].partition("/")[2]}, "sender_action": action}

    def test_refuse_it_by_their_table(self, channel: Channel) -> None:
        with pytest.raises(WindowClosed):
            asked(channel, "started", Response.of_json({"error": {"code": 10, "error_subcode": 2018278}}, 400))


@pytest.mark.parametrize(
    ("channel", "simulator"),
    [
        (MESSENGER, MessengerSimulator(messaging.APP, messaging.HOOK)),
        (INSTAGRAM, InstagramSimulator(messaging.APP, messaging.HOOK)),
        (WHATSAPP, WhatsAppSimulator(whatsapp.APP, whatsapp.HOOK)),
    ],
    ids=["messenger", "instagram", "whatsapp"],
)
class TestTheSimulators:
    @pytest.mark.parametrize("state", ["started", "stopped"])
    def test_take_it_and_tell_nothing_of_it(self, channel: Channel, simulator: AnySimulator, state: str) -> None:
        for request in asked(channel, state, *([DONE] if channel is not WHATSAPP or state == "started" else [])):
            answer = simulator.answer(request)
            assert (answer.response.status, answer.later) == (200, ())

    def test_refuse_an_indicator_that_there_is_not(self, channel: Channel, simulator: AnySimulator) -> None:
        (request,) = asked(channel, "started", DONE)
        wrong = body(request) | {"typing_indicator": {"type": "voice"}, "sender_action": "dancing"}
        answer = simulator.answer(msgspec.structs.replace(request, body=json.dumps(wrong).encode()))
        assert answer.response.status == 400
