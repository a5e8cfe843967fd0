"""WebForm on recorded submissions: what is proven, what is refused, what they come to."""

from __future__ import annotations

import contextlib
import datetime
import re
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway import Intake, Malformed, Received, Request, Response, Secret, Unverified
from sluiceway import config as configuration
from sluiceway.gateway import AnyFact
from sluiceway.testing import check_gateway, deliver
from sluiceway.wire import FORM, JSON
from sluiceway_contracts import FormAnswer, FormResponse, Text, addresses, now
from sluiceway_contracts.parts import complete, plain
from sluiceway_gateways.webform import http
from sluiceway_gateways.webform.http import SIGNATURE, TIMESTAMP, Connection, Fields, SiteForm, WebForm, sign
from sluiceway_gateways.webform.http_simulator import WebFormSimulator

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "samples" / "webform"
HOOK = "https://gw.example/hooks/forms"
ORIGIN = "https://shop.example"
NOW = "sluiceway_gateways.webform.http.now"
KEY = "4d1f0c6be29a4b7f8e3a5c21"
SECRET = Secret("a shared secret")
CONTACT = SiteForm(
    connection="forms",
    tenant="acme",
    address="web:shop/contact",
    site_key=KEY,
    origins=(ORIGIN, "http://localhost:3000"),
    thanks_url="https://shop.example/thanks",
    country_code="44",
    fields=Fields(message="comments", honeypot="fax_2"),
    labels={"order": "Order number", "topic": "Topic"},
)
PLAIN = SiteForm(
    connection="forms", tenant="acme", address="web:shop/plain", site_key=KEY, origins=(ORIGIN,), per_form_minute=0
)
SIGNED_ONLY = SiteForm(connection="forms", tenant="acme", address="web:shop/signed")
GATEWAY = WebForm(Connection(secret=SECRET), HOOK, (CONTACT, PLAIN, SIGNED_ONLY))


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def browser(
    body: bytes = b"comments=Hello", type: str = FORM, form: str = "shop/contact", key: str = KEY, **headers: str
) -> Request:
    """What a page of the shop posts."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(
        method="POST",
        url=f"{HOOK}/{form}?key={key}",
        headers={"content-type": type, "origin": ORIGIN} | named,
        body=body,
        subpath=form,
        client="198.51.100.1",
    )


def server(body: bytes, type: str = JSON, form: str = "shop/contact", seconds: int = 0, **headers: str) -> Request:
    """What the shop's server posts."""
    timestamp = str(int(time.time()) + seconds)
    proof = {TIMESTAMP: timestamp, SIGNATURE: sign(SECRET, timestamp, body)}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(
        method="POST",
        url=f"{HOOK}/{form}",
        headers={"content-type": type} | proof | named,
        body=body,
        subpath=form,
        client="192.0.2.7",
    )


def received(request: Request, gateway: WebForm = GATEWAY) -> Received:
    (fact,) = deliver(gateway, request).facts
    assert isinstance(fact, Received)
    return fact


def encoded(**fields: str) -> bytes:
    return urlencode(fields).encode()


def answers(fact: Received) -> dict[str, str]:
    return {one.name: one.value for part in fact.parts if isinstance(part, FormResponse) for one in part.fields}


def test_it_passes_the_conformance_checks() -> None:
    check_gateway(WebForm)


class TestASubmission:
    def test_is_the_message_and_the_other_answers_in_the_pages_order(self) -> None:
        text, form = received(browser(sample("contact.form"))).parts
        assert text == Text(text="My kettle’s lid is cracked.\nWhat now?")
        assert form == FormResponse(
            form_id="contact",
            fields=(
                FormAnswer(name="name", value="A. Customer"),
                FormAnswer(name="email", value="customer@Mail.example"),
                FormAnswer(name="phone", value="07700 900456"),
                FormAnswer(name="order", value="A-1042", label="Order number"),
                FormAnswer(name="topic", value="delivery, damage", label="Topic"),
            ),
            page_url="https://shop.example/contact?sku=k7",
        )

    def test_reads_well_where_only_text_is_shown(self) -> None:
        assert plain(complete(received(browser(sample("contact.form"))).parts)) == (
            "My kettle’s lid is cracked.\nWhat now?\nname: A. Customer\nemail: customer@Mail.example\n"
            "phone: 07700 900456\nOrder number: A-1042\nTopic: delivery, damage"
        )

    def test_is_at_its_form_by_a_sender_of_its_own_with_a_name_and_asserted_addresses(self) -> None:
        fact = received(browser(sample("contact.form")))
        assert (fact.at, fact.name) == ("shop/contact", "A. Customer")
        assert fact.at == GATEWAY.identity(CONTACT)
        assert re.fullmatch("web:shop/[0-9a-f]{32}", fact.sender)
        assert fact.asserted == ("mailto:customer@mail.example", "tel:+447700900456")
        assert fact.ext == {}

    def test_in_json_has_its_values_as_text(self) -> None:
        fact = received(browser(sample("contact.json"), JSON))
        assert answers(fact) == {
            "name": "A. Customer",
            "email": "customer@mail.example",
            "quantity": "2",
            "weight": "1.5",
            "gift": "true",
            "sizes": "S, M",
        }

    def test_of_a_message_alone_has_no_empty_form(self) -> None:
        assert received(browser()).parts == (Text(text="Hello"),)

    def test_without_a_message_is_a_form_alone(self) -> None:
        (part,) = received(browser(encoded(phone="+447700900456"))).parts
        assert isinstance(part, FormResponse)

    def test_calls_fields_with_a_meaning_by_their_usual_names(self) -> None:
        names = Fields(message="m", email="f_1", order="f_2")
        gateway = WebForm(Connection(), HOOK, [msgspec.structs.replace(CONTACT, fields=names)])
        fact = received(browser(encoded(f_1="a@b.example", f_2="A-1", m="Hi", other="x")), gateway)
        assert answers(fact) == {"email": "a@b.example", "order": "A-1", "other": "x"}
        assert fact.asserted == ("mailto:a@b.example",)

    def test_has_no_control_characters_and_no_lines_in_names(self) -> None:
        fact = received(browser(encoded(comments="a\x00b\x1b[2J\r\nc\u202ed", **{"x\n y\x07": "\x00"}, name=" A\n B ")))
        assert fact.parts[0] == Text(text="ab[2J\nc\u202ed")
        assert (fact.name, answers(fact)) == ("A B", {"name": "A\n B"})
        assert answers(received(browser(encoded(**{"x\n y\x07": "1"})))) == {"x y": "1"}

    @pytest.mark.parametrize(
        ("url", "kept"),
        [
            ("https://shop.example/a?b=c#d", "https://shop.example/a?b=c"),
            ("http://localhost:3000/", "http://localhost:3000/"),
            ("https://evil.example/", None),
            ("https://shop.example@evil.example/", None),
            ("https://shop.example.evil.example/", None),
            ("javascript:alert(1)", None),
            ("//shop.example/", None),
            ("https://shop.example/\u202e", None),
            ("https://[", None),
            ("x", None),
        ],
    )
    def test_links_to_the_forms_own_site_alone(self, url: str, kept: str | None) -> None:
        by_field = received(browser(encoded(comments="Hello", page_url=url)))
        by_header = received(browser(referer=url))
        urls = [part.page_url for part in by_field.parts if isinstance(part, FormResponse)]
        assert urls == [kept]
        assert answers(by_field) == ({} if kept else {"page_url": url})
        assert [part.page_url for part in by_header.parts if isinstance(part, FormResponse)] == [kept][: bool(kept)]


class TestAsserted:
    @pytest.mark.parametrize(
        ("typed", "country", "address"),
        [
            ("+44 7700 900456", None, "tel:+447700900456"),
            ("+44 (0)7700 900456", None, "tel:+447700900456"),
            ("0044 (0) 7700/900-456", "49", "tel:+447700900456"),
            ("00447700900456", None, "tel:+447700900456"),
            ("(07700) 900456", "44", "tel:+447700900456"),
            ("07700\u00a0900456", "44", "tel:+447700900456"),
            ("07700 900456", None, None),
            ("7700 900456", "44", None),
            ("call me", "44", None),
            ("+0123", "44", None),
            ("+" + "1" * 16, "44", None),
            ("٠٧٧٠٠٩٠٠٤٥٦", "44", None),
        ],
    )
    def test_a_number_is_one_where_its_country_can_be_told(
        self, typed: str, country: str | None, address: str | None
    ) -> None:
        gateway = WebForm(Connection(), HOOK, [msgspec.structs.replace(CONTACT, country_code=country)])
        fact = received(browser(encoded(phone=typed)), gateway)
        assert fact.asserted == ((address,) if address else ())
        assert answers(fact)["phone"] == typed

    @pytest.mark.parametrize("typed", ["nobody", "a@b@c", "a b@c.example", "a@b.example, c@d.example", "mailto:a@b"])
    def test_what_is_no_mail_address_is_an_answer_alone(self, typed: str) -> None:
        fact = received(browser(encoded(email=typed)))
        assert (fact.asserted, answers(fact)) == ((), {"email": typed})


class TestProof:
    def test_a_browser_needs_an_origin_of_the_form_and_its_key(self) -> None:
        for refused in (
            browser(origin="https://evil.example"),
            browser(origin="https://shop.example.evil.example"),
            browser(origin="null"),
            browser(origin=""),
            browser(key="another-key"),
            browser(key=""),
            browser(form="shop/signed", key=""),
            browser(form="shop/signed", key="", origin=""),
            msgspec.structs.replace(browser(), headers={"content-type": FORM}),
            msgspec.structs.replace(browser(), url=f"{HOOK}/shop/contact"),
        ):
            with pytest.raises(Unverified):
                GATEWAY.verify(refused)

    def test_a_server_needs_no_origin_and_no_key(self) -> None:
        assert received(server(sample("server.json"), form="shop/signed")).ext == {"signed": True}

    def test_a_signature_covers_time_and_bytes(self) -> None:
        good = server(sample("server.json"))
        timestamp, signature = good.headers[TIMESTAMP], good.headers[SIGNATURE]
        bad: list[Mapping[str, str]] = [
            {SIGNATURE: ""},
            {SIGNATURE: signature[:-1]},
            {SIGNATURE: signature.upper()},
            {SIGNATURE: signature.removeprefix("sha256=")},
            {SIGNATURE: f"{signature}, {signature}"},
            {SIGNATURE: "\udcff"},
            {SIGNATURE: sign(Secret("another"), timestamp, good.body)},
            {TIMESTAMP: ""},
            {TIMESTAMP: "\udcff"},
            {TIMESTAMP: str(int(timestamp) + 1)},
        ]
        for change in bad:
            with pytest.raises(Unverified):
                GATEWAY.verify(msgspec.structs.replace(good, headers={**good.headers, **change}))
        with pytest.raises(Unverified):
            GATEWAY.verify(msgspec.structs.replace(good, body=good.body + b" "))

    @pytest.mark.parametrize("seconds", [-310, 310, -8 * 86_400])
    def test_a_good_signature_of_another_time_is_a_replay(self, seconds: int) -> None:
        with pytest.raises(Unverified, match="a replay"):
            GATEWAY.verify(server(b"{}", seconds=seconds))

    def test_a_bad_signature_is_not_made_good_by_an_origin(self) -> None:
        with pytest.raises(Unverified):
            GATEWAY.verify(browser(x_sluiceway_signature="sha256=00"))

    def test_without_a_secret_no_signature_passes(self) -> None:
        with pytest.raises(Unverified, match="has no secret"):
            WebForm(Connection(), HOOK, (CONTACT,)).verify(server(sample("server.json")))

    def test_a_form_that_is_not_there_is_not_found(self) -> None:
        for subpath in ("", "shop", "shop/contact/", "shop/x", "\udcff"):
            with pytest.raises(Malformed) as caught:
                GATEWAY.verify(msgspec.structs.replace(browser(), subpath=subpath))
            assert caught.value.status == 404

    def test_a_strangers_submission_that_nobody_can_read_is_refused_and_never_kept(self) -> None:
        for body, type, status in (
            (b"", FORM, 400),
            (b"comments=", FORM, 400),
            (b"submission_id=1", FORM, 400),
            (b"comments=%ff", FORM, 400),
            (b"[1]", JSON, 400),
            (b'{"a":{"b":1}}', JSON, 400),
            (b"{", JSON, 400),
            (b"Hello", "text/plain", 415),
            (b"--x\r\n", "multipart/form-data; boundary=x", 400),
            (b"--x\r\n", "multipart/form-data", 415),
            (b"comments=" + b"x" * http.MAX_BODY_BYTES, FORM, 413),
            (b"comments=" + b"x" * (http.MAX_VALUE + 1), FORM, 413),
            (b"x" * (http.MAX_NAME + 1) + b"=1", FORM, 413),
            (b"&".join(b"f%d=1" % n for n in range(http.MAX_FIELDS + 1)), FORM, 413),
        ):
            with pytest.raises(Malformed) as caught:
                GATEWAY.verify(browser(body, type))
            assert caught.value.status == status

    def test_a_multipart_form_is_as_good_as_any(self) -> None:
        body = b'--x\r\ncontent-disposition: form-data; name="comments"\r\n\r\nHello\r\n--x--\r\n'
        intake = deliver(GATEWAY, browser(body, "multipart/form-data; boundary=x"))
        (fact,) = intake.facts
        assert isinstance(fact, Received)
        assert "Hello" in fact.parts[-1].plain()

    def test_a_servers_submission_that_nobody_can_read_is_proven_and_parked(self) -> None:
        request = server(b"[1]")
        GATEWAY.verify(request)
        with pytest.raises(Malformed):
            GATEWAY.receive(request)


class TestSender:
    def test_a_server_names_the_visitor(self) -> None:
        fact = received(server(sample("server.json")))
        assert fact.sender == "web:shop/customer-1042"
        assert fact.asserted == ("tel:+447700900456",)
        assert answers(fact) == {"phone": "+44 (0)7700 900456"}
        assert isinstance(form := fact.parts[1], FormResponse)
        assert form.page_url == "https://other.example/basket"

    def test_a_browser_names_nobody(self) -> None:
        fact = received(browser(sample("server.json"), JSON))
        assert fact.sender == f"web:shop/{fact.key}"
        assert answers(fact)["visitor"] == "customer-1042"

    def test_a_server_that_names_nobody_has_a_sender_for_each_submission(self) -> None:
        fact = received(server(b'{"comments":"Hello"}'))
        assert fact.sender == f"web:shop/{fact.key}"

    @pytest.mark.parametrize("visitor", ["a b", "a/b", "x" * 129, "jane@mail.example"])
    def test_a_visitor_that_is_no_id_is_malformed(self, visitor: str) -> None:
        request = server(msgspec.json.encode({"visitor": visitor, "comments": "Hello"}))
        with pytest.raises(Malformed, match="the visitor is no id"):
            deliver(GATEWAY, request)


class TestTwice:
    def key(self, request: Request) -> str:
        return received(request).key

    def test_the_same_id_and_answers_are_the_same_submission_at_any_time_from_anywhere(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        request = browser(sample("contact.form"))
        first = self.key(request)
        later = now() + datetime.timedelta(days=5000)
        monkeypatch.setattr(NOW, lambda: later)
        assert self.key(msgspec.structs.replace(request, client="203.0.113.9")) == first

    def test_an_id_out_of_a_cache_loses_nobodys_answers(self) -> None:
        one, two = (browser(encoded(submission_id="7", comments=text)) for text in ("Hello", "Hello?"))
        assert self.key(one) != self.key(two)

    def test_scripts_may_give_the_id_in_a_header(self) -> None:
        one, two = (browser(idempotency_key=id) for id in ("7", "8"))
        assert self.key(one) == self.key(msgspec.structs.replace(one, client="203.0.113.9")) != self.key(two)

    def test_without_an_id_the_same_words_of_a_client_are_one_within_an_hour(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        moment = now().replace(hour=9, minute=0)
        monkeypatch.setattr(NOW, lambda: moment)
        first = self.key(browser())
        monkeypatch.setattr(NOW, lambda: moment.replace(minute=59))
        assert self.key(browser()) == first
        assert self.key(msgspec.structs.replace(browser(), client="203.0.113.9")) != first
        assert self.key(browser(b"comments=Hello%3F")) != first
        assert self.key(browser(form="shop/plain")) != first
        monkeypatch.setattr(NOW, lambda: moment.replace(hour=10))
        assert self.key(browser()) != first

    def test_a_servers_is_the_same_by_its_signed_time_and_no_header_that_is_not_signed(self) -> None:
        body = b'{"comments":"Hello"}'
        one = server(body)
        replayed = msgspec.structs.replace(one, headers={**one.headers, "idempotency-key": "new"}, client="1.2.3.4")
        assert self.key(one) == self.key(replayed)
        assert self.key(one) != self.key(server(body, seconds=-5))

    def test_a_servers_with_an_id_is_the_same_however_often_it_is_signed(self) -> None:
        body = b'{"comments":"Hello","submission_id":"7"}'
        assert self.key(server(body)) == self.key(server(body, seconds=-5))

    def test_a_dead_letter_is_the_same_whenever_it_is_replayed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        bare = msgspec.structs.replace(browser(form="shop/plain"), headers={"content-type": FORM}, client="")
        keys = set()
        for days in (0, 5000):
            moment = now() + datetime.timedelta(days=days)
            monkeypatch.setattr(NOW, lambda moment=moment: moment)
            intake = GATEWAY.receive(bare)
            keys |= {fact.key for fact in intake.facts}
        assert len(keys) == 1


class TestAnswers:
    def reply(self, request: Request, gateway: WebForm = GATEWAY) -> Response:
        return deliver(gateway, request).reply

    def test_a_browsers_form_leads_to_the_configured_page_and_nowhere_else(self) -> None:
        hostile = browser(encoded(comments="x", thanks_url="https://evil.example", next="https://evil.example"))
        for request in (browser(), hostile):
            reply = self.reply(request)
            assert (reply.status, reply.headers["location"]) == (303, "https://shop.example/thanks")

    def test_without_such_a_page_it_is_a_line_of_text(self) -> None:
        reply = self.reply(browser(form="shop/plain"))
        assert (reply.status, reply.headers["content-type"]) == (200, "text/plain; charset=utf-8")

    def test_scripts_and_servers_get_json(self) -> None:
        for request in (
            browser(sample("contact.json"), JSON),
            browser(accept="application/json, */*"),
            server(sample("server.json")),
        ):
            assert self.reply(request).json(dict[str, bool]) == {"accepted": True}

    def test_a_robot_is_told_what_everybody_is_told(self) -> None:
        intake = deliver(GATEWAY, browser(sample("honeypot.form")))
        assert intake == Intake(discarded=True, reply=self.reply(browser()))

    def test_where_no_honeypot_is_named_nothing_is_one(self) -> None:
        assert "fax_2" in answers(received(browser(sample("honeypot.form"), form="shop/plain")))

    def test_a_preflight_is_answered_for_allowed_origins_alone(self) -> None:
        preflight = msgspec.structs.replace(browser(), method="OPTIONS", url=f"{HOOK}/shop/contact", body=b"")
        intake = deliver(GATEWAY, preflight)
        assert intake.facts == ()
        assert not intake.discarded
        assert intake.reply.status == 204
        assert intake.reply.headers["access-control-allow-methods"] == "POST"
        assert "content-type" in intake.reply.headers["access-control-allow-headers"]
        with pytest.raises(Unverified):
            GATEWAY.verify(msgspec.structs.replace(preflight, headers={"origin": "https://evil.example"}))

    def test_an_origin_is_echoed_where_it_is_allowed(self) -> None:
        for origin in CONTACT.origins:
            assert GATEWAY.answer_headers(browser(origin=origin))["access-control-allow-origin"] == origin
        refused = (browser(origin="https://evil.example"), browser(origin="*"), browser(form="no/where"), server(b""))
        for request in refused:
            assert GATEWAY.answer_headers(request) == {"vary": "Origin"}


class TestLimits:
    def test_a_browsers_network_and_all_browsers_of_the_form_have_one(self) -> None:
        mine, all = GATEWAY.limits(browser())
        assert (mine.rate.burst, round(mine.rate.per_second * 60)) == (10, 10)
        assert (all.rate.burst, round(all.rate.per_second * 60)) == (120, 120)
        assert GATEWAY.limits(msgspec.structs.replace(browser(), client="203.0.113.9"))[0].key != mine.key
        assert GATEWAY.limits(msgspec.structs.replace(browser(), client="203.0.113.9"))[1] == all

    def test_none_holds_where_it_is_switched_off(self) -> None:
        (mine,) = GATEWAY.limits(browser(form="shop/plain"))
        assert "198.51.100.1" in mine.key

    def test_none_holds_for_servers_and_preflights(self) -> None:
        assert GATEWAY.limits(server(b"{}")) == ()
        assert GATEWAY.limits(msgspec.structs.replace(browser(), method="OPTIONS")) == ()


class TestSettings:
    TABLE = {"connection": "c", "tenant": "t", "address": "web:shop/contact"}

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"address": "tel:+447700900123"}, "web:<site>/<form>"),
            ({"site_key": KEY}, "go together"),
            ({"origins": [ORIGIN]}, "go together"),
            ({"site_key": KEY, "origins": ["https://shop.example/"]}, "origins"),
            ({"site_key": KEY, "origins": ["*"]}, "origins"),
            ({"site_key": KEY, "origins": ["null"]}, "origins"),
            ({"site_key": "short", "origins": [ORIGIN]}, "site_key"),
            ({"thanks_url": "/thanks"}, "thanks_url"),
            ({"thanks_url": "https://x.example/\r\nset-cookie: a"}, "thanks_url"),
            ({"country_code": "+44"}, "country_code"),
            ({"per_client_minute": -1}, "per_client_minute"),
            ({"fields": {"massage": "x"}}, "massage"),
            ({"fields": {"name": "email"}}, "same name"),
        ],
    )
    def test_what_cannot_work_is_refused(self, change: dict[str, Any], why: str) -> None:
        with pytest.raises(msgspec.ValidationError, match=why):
            msgspec.convert(self.TABLE | change, SiteForm)

    def test_a_secret_is_not_empty(self) -> None:
        with pytest.raises(ValueError, match="secret is empty"):
            Connection(secret=Secret(""))

    def test_the_example_of_the_documentation_is_a_configuration(self, tmp_path: Path) -> None:
        text = (ROOT / "docs" / "channels" / "webform.md").read_text(encoding="utf-8")
        blocks = re.findall(r"(?m)(?:^ {7}.*\n|^\n(?= {7}))+", text)
        file = tmp_path / "sluiceway.toml"
        file.write_text("\n".join(textwrap.dedent(block) for block in blocks))
        config = configuration.load(str(file), {"FORMS_SECRET": "x"})
        form = config.accounts(config.connections())["shop-contact"]
        assert isinstance(form, SiteForm)
        assert config.core.http.trusted_proxies == ("10.0.0.0/8",)
        assert form.site_key is not None
        assert text.count(form.site_key) == 3
        assert f'name="{form.fields.message}"' in text
        assert f'name="{form.fields.honeypot}"' in text


class TestSimulator:
    @pytest.mark.parametrize(
        ("sender", "expected"),
        [
            ("a@mail.example", {"asserted": ("mailto:a@mail.example",)}),
            ("07700 900456", {"asserted": ("tel:+447700900456",)}),
            ("A. Customer", {"name": "A. Customer"}),
        ],
    )
    def test_without_a_secret_it_posts_as_a_browser(self, sender: str, expected: dict[str, object]) -> None:
        simulator = WebFormSimulator(Connection(), HOOK)
        simulator.fields = {"order": "A-1", "colour": "red"}
        fact = received(at(simulator.deliver(CONTACT, sender, "Hello")))
        assert fact.parts[0] == Text(text="Hello")
        assert answers(fact) | {"order": "A-1", "colour": "red"} == answers(fact)
        assert {name: getattr(fact, name) for name in expected} == expected

    def test_with_a_secret_it_signs_as_the_server_and_names_the_visitor(self) -> None:
        request = at(WebFormSimulator(Connection(secret=SECRET), HOOK).deliver(SIGNED_ONLY, "customer-1042", "Hello"))
        assert received(request).sender == "web:shop/customer-1042"

    def test_each_delivery_is_a_new_one(self) -> None:
        simulator = WebFormSimulator(Connection(), HOOK)
        assert len({received(at(simulator.deliver(CONTACT, "A", "Hello"))).key for _ in range(5)}) == 5

    def test_nothing_is_sent_to_a_form(self) -> None:
        simulator = WebFormSimulator(Connection(), HOOK)
        assert simulator.answer(Request.get(HOOK)).response.status == 404


def at(request: Request) -> Request:
    """With the sub-path that the server would find."""
    return msgspec.structs.replace(request, subpath=request.url.partition("?")[0].removeprefix(f"{HOOK}/"))


def sound(facts: tuple[AnyFact, ...]) -> None:
    """Whatever was read can be stored."""
    for fact in facts:
        assert isinstance(fact, Received)
        assert addresses.normalise(fact.sender) == fact.sender
        assert [addresses.normalise(one) for one in fact.asserted] == list(fact.asserted)
        assert msgspec.json.decode(msgspec.json.encode(fact), type=Received) == fact


TEXT = st.text(max_size=30) | st.sampled_from(
    ["\x00", "\u202e", "+", "0", "00", "(0)", "a@b", "https://shop.example/\n"]
)
NAMES = st.sampled_from([*msgspec.structs.astuple(CONTACT.fields), "x"]) | st.text(max_size=10)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)


@given(st.lists(st.tuples(NAMES, TEXT), max_size=12), st.booleans())
def test_no_form_raises_anything_but_malformed(pairs: list[tuple[str, str]], signed: bool) -> None:
    body = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs).encode()
    try:
        sound(deliver(GATEWAY, server(body, FORM) if signed else browser(body)).facts)
    except Malformed:
        return


@given(st.dictionaries(NAMES, SCALARS | st.lists(SCALARS, max_size=4)) | st.recursive(SCALARS, st.lists), st.booleans())
def test_no_json_raises_anything_but_malformed(value: object, signed: bool) -> None:
    body = msgspec.json.encode(value, enc_hook=str) if not _is_too_large(value) else b"9" * 400
    try:
        sound(deliver(GATEWAY, server(body) if signed else browser(body, JSON)).facts)
    except Malformed:
        return


def _is_too_large(value: object) -> bool:
    try:
        msgspec.json.encode(value)
    except (OverflowError, UnicodeEncodeError):
        return True
    return False


@given(st.binary(max_size=300), st.sampled_from([FORM, JSON, "", "text/plain"]), st.binary(max_size=40))
def test_no_bytes_and_no_headers_raise_anything_but_refusals(body: bytes, type: str, raw: bytes) -> None:
    header = raw.decode("utf-8", "surrogateescape")  # as the server reads it
    request = browser(body, type, referer=header, idempotency_key=header, accept=header)
    with contextlib.suppress(Malformed):
        sound(deliver(GATEWAY, request).facts)
    strange = {"origin": header, TIMESTAMP: header, SIGNATURE: header}
    with pytest.raises((Malformed, Unverified)):
        GATEWAY.verify(msgspec.structs.replace(request, headers={**request.headers, **strange}))
