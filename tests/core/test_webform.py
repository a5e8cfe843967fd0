"""Forms against a running service, by real HTTP: what a browser is answered, and what is on the stream."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from sluiceway.testing.nats import NatsServer
from sluiceway.throttle import Throttle
from sluiceway.tokens import Tokens
from sluiceway.wire import FORM, JSON, Request, Response
from sluiceway_contracts import ErrorDeadLetter, FormResponse, MessageReceived, Text
from sluiceway_contracts.values import now
from sluiceway_gateways.webform.http import KEY, SIGNATURE, TIMESTAMP, Connection, sign

from .conftest import ENVIRONMENT, Rig, running

HEAD = """
[nats]
url = "{url}"
prefix = "t{number}"
names = "T{number}"
[http]
listen = "127.0.0.1:{hooks}"
trusted_proxies = ["127.0.0.1"]
[probes]
listen = "127.0.0.1:{probes}"
[identity]
key = "env:IDENTITY_KEY"
[connections.forms]
gateway = "webform.http"
secret = "env:LOFT"
[accounts.shop-contact]
connection = "forms"
tenant = "acme"
address = "web:shop/contact"
site_key = "4d1f0c6be29a4b7f8e3a5c21"
origins = ["https://shop.example"]
thanks_url = "https://shop.example/thanks"
per_client_minute = 3
per_form_minute = 7
[accounts.shop-contact.fields]
honeypot = "fax_2"
"""
SHOP = "https://shop.example"


@pytest.fixture
async def rig(tmp_path: Path, shared_nats: NatsServer) -> AsyncIterator[Rig]:
    async with running(tmp_path, shared_nats, HEAD) as rig:
        rig.service.inbound._throttle = Throttle(lambda: 100.0)  # its clock stands still
        yield rig


def page(
    rig: Rig, body: bytes = b"message=Hello", type: str = FORM, *, client: str = "198.51.100.1", **changes: str
) -> Request:
    """A post of the shop's page."""
    headers = {"content-type": type, "origin": SHOP, "x-forwarded-for": client} | changes
    return Request(
        method="POST", url=f"{rig.hook_url}/shop/contact?{KEY}=4d1f0c6be29a4b7f8e3a5c21", headers=headers, body=body
    )


async def post(request: Request) -> Response:
    """As anybody's client would: core's own raises a 429."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            request.method, request.url, headers=request.headers, data=request.body, allow_redirects=False
        ) as answer,
    ):
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(status=answer.status, headers=headers, body=await answer.read())


def cors(response: Response) -> str | None:
    return response.headers.get("access-control-allow-origin")


async def test_a_browsers_form_becomes_a_message_and_leads_to_the_shops_page(rig: Rig) -> None:
    response = await post(page(rig, b"message=Where+is+it%3F&order=A-1042&phone=%2B447700900456"))
    assert (response.status, response.headers["location"]) == (303, "https://shop.example/thanks")
    (event,) = await rig.events("message.received")
    assert (event.channel, event.account) == ("webform", "shop-contact")
    assert isinstance(event.data, MessageReceived)
    text, form = event.data.message.parts
    assert isinstance(text, Text)
    assert isinstance(form, FormResponse)
    assert event.data.message.text == "Where is it?\norder: A-1042\nphone: +447700900456"
    assert str(event.data.message.author.address).startswith("web:shop/")


async def test_two_submissions_with_the_same_phone_number_are_two_contacts(rig: Rig) -> None:
    for words in (b"One", b"Two"):
        await post(page(rig, b"phone=%2B447700900456&message=" + words))
    one, two = await rig.events("message.received")
    assert one.contactid != two.contactid


async def test_a_form_behind_a_link_of_ours_speaks_in_that_conversation_and_a_forged_link_in_its_own(rig: Rig) -> None:
    await post(page(rig, b"message=Hello"))
    (first,) = await rig.events("message.received")
    secret = ENVIRONMENT["IDENTITY_KEY"].encode()
    token = Tokens([secret]).issue("acme", str(first.subject), now() + datetime.timedelta(days=1), purpose="link")
    forged = ("b" if token[0] == "a" else "a") + token[1:]
    for sent in (token, forged):
        await post(page(rig, f"message=By+link&reply_token={sent}".encode()))
    _, admitted, other = await rig.events("message.received")
    assert isinstance(admitted.data, MessageReceived)
    assert isinstance(other.data, MessageReceived)
    assert (admitted.subject, admitted.data.resolved_by) == (first.subject, "token")
    assert admitted.data.message.author.contact_id is None
    assert (other.data.resolved_by, other.subject != first.subject) == ("new", True)


async def test_a_double_click_is_one_message(rig: Rig) -> None:
    request = page(rig, b"message=Hello&submission_id=7")
    assert [(await post(request)).status for _ in range(2)] == [303, 303]
    assert len(await rig.events("message.received")) == 1


async def test_the_visitor_whom_the_server_names_has_one_conversation(rig: Rig) -> None:
    for words in ("Hello", "Is anybody there?"):
        assert (await rig.text(words, "customer-1042", "shop-contact")).status == 200
    one, two = await rig.events("message.received")
    assert one.subject == two.subject
    assert isinstance(one.data, MessageReceived)
    assert one.data.message.author.address == "web:shop/customer-1042"
    assert one.data.message.ext == {"webform": {"signed": True}}


async def test_a_servers_submission_that_nobody_can_read_is_a_dead_letter_and_a_browsers_is_not(rig: Rig) -> None:
    assert (await post(page(rig, b"[1]", JSON))).status == 400
    assert await rig.stream("DEAD") == []
    signed = rig.simulator.deliver(rig.account("shop-contact").account, "customer-1042", "x")
    settings = rig.accounts.connections["forms"].settings
    assert isinstance(settings, Connection)
    assert settings.secret is not None
    signature = sign(settings.secret, signed.headers[TIMESTAMP], b"[1]")
    broken = msgspec.structs.replace(signed, body=b"[1]", headers={**signed.headers, SIGNATURE: signature})
    assert (await post(broken)).status == 200
    (event,) = await rig.events()
    assert isinstance(event.data, ErrorDeadLetter)
    assert len(await rig.stream("DEAD")) == 1


async def test_a_preflight_is_answered_to_the_shops_page_alone(rig: Rig) -> None:
    ask = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    for origin, status, allowed in ((SHOP, 204, SHOP), ("https://evil.example", 403, None)):
        preflight = Request(method="OPTIONS", url=f"{rig.hook_url}/shop/contact", headers=ask | {"origin": origin})
        response = await post(preflight)
        assert (response.status, cors(response), response.headers["vary"]) == (status, allowed, "Origin")
    assert await rig.events() == []


async def test_every_answer_to_the_shops_page_can_be_read_by_it(rig: Rig) -> None:
    good = page(rig, accept=JSON)
    for request, status in (
        (good, 200),
        (msgspec.structs.replace(good, url=good.url + "x"), 403),
        (page(rig, b""), 400),
        (page(rig, b"Hello", "text/plain"), 415),
        (page(rig, b"message=" + b"x" * 70_000), 413),
        (good, 200),
        (good, 200),
        (good, 429),
    ):
        response = await post(request)
        assert (response.status, cors(response), response.headers["vary"]) == (status, SHOP, "Origin")
    response = await post(page(rig, origin="https://evil.example"))
    assert (response.status, cors(response), response.headers["vary"]) == (403, None, "Origin")


async def test_one_client_and_all_together_may_post_so_often(rig: Rig) -> None:
    answers = [await post(page(rig, b"message=%d" % number)) for number in range(5)]
    assert [answer.status for answer in answers] == [303, 303, 303, 429, 429]
    assert answers[-1].headers["retry-after"] == "20"
    others = [await post(page(rig, client=f"2001:db8:{number}::1")) for number in range(6)]
    assert [answer.status for answer in others] == [303] * 4 + [429] * 2
    assert (await rig.text("Hello", "customer-1042", "shop-contact")).status == 200
    assert len(await rig.events("message.received")) == 8
    shown = (await rig.client.exchange(Request.get(f"http://{rig.core.probes.listen}/metrics"))).body.decode()
    assert 'sluiceway_deliveries_total{connection="forms",outcome="limited"}' in shown


async def test_a_robot_is_thanked_and_leaves_nothing(rig: Rig) -> None:
    thanked, robot = await post(page(rig)), await post(page(rig, b"message=Buy&fax_2=1"))
    without_date = [{name: v for name, v in r.headers.items() if name != "date"} for r in (thanked, robot)]
    assert (thanked.status, thanked.body, without_date[0]) == (robot.status, robot.body, without_date[1])
    assert len(await rig.events("message.received")) == 1
    shown = (await rig.client.exchange(Request.get(f"http://{rig.core.probes.listen}/metrics"))).body.decode()
    assert 'sluiceway_deliveries_total{connection="forms",outcome="discarded"}' in shown


async def test_a_command_for_a_form_fails_by_name(rig: Rig) -> None:
    await rig.send("Hello", account="shop-contact", to=("web:shop/customer-1042",))
    (event,) = await rig.until_event("command.failed")
    assert event.account == "shop-contact"
