"""WhatsAppCloud as a sender: every part and parameter as Meta wants it, and what each of its answers means."""

import contextlib
import itertools
import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema.exceptions import best_match, by_relevance
from jsonschema.protocols import Validator

from sluiceway import (
    Action,
    Ambiguous,
    CredentialsRefused,
    OptedOut,
    Outbound,
    Outcome,
    Rejected,
    Response,
    SendError,
    Sent,
    Throttled,
    Unreachable,
    WindowClosed,
)
from sluiceway.render import render
from sluiceway.testing import play
from sluiceway_contracts import (
    AnyPart,
    Choices,
    ContactCard,
    Location,
    Media,
    MessageMarkSeen,
    MessageReact,
    MessageRef,
    Notice,
    Option,
    Template,
    TemplateValue,
    Text,
)
from sluiceway_gateways import _whatsapp_errors as errors
from sluiceway_gateways.whatsapp._request import PLACES
from sluiceway_gateways.whatsapp.cloud import Number, WhatsAppCloud

from . import whatsapp_openapi
from .whatsapp import CUSTOMER, FIRST, GATEWAY, NUMBER, SAMPLES, TOKEN, USER_ID

METAS = whatsapp_openapi.validator()
OURS = jsonschema.Draft202012Validator(json.loads((SAMPLES / "request.schema.json").read_bytes()))
CLOSEST = by_relevance(weak={"oneOf", "anyOf", "unevaluatedProperties"})
TAKEN = Response.of_json({"messaging_product": "whatsapp", "messages": [{"id": "wamid.OURS=="}]})
LINK = "https://shop.example/1"


def valid(body: Any) -> None:
    """Meta's own document and our tighter limits both allow it."""
    for validator in (METAS, OURS):
        problem = best_match(validator.iter_errors(body), key=CLOSEST)
        assert problem is None, f"{problem.json_path}: {problem.message}"


def outbound(*parts: AnyPart, **fields: Any) -> Outbound[Number]:
    given: dict[str, Any] = {"message_id": "0", "account": NUMBER, "recipient": CUSTOMER, "parts": parts} | fields
    return Outbound[Number](**given)


def asked(*parts: AnyPart, **fields: Any) -> dict[str, Any]:
    """The body of the only request that sends this, which Meta's form allows."""
    sent, (request,) = play(GATEWAY.send(outbound(*parts, **fields)), TAKEN)
    assert sent == Sent(external_id="wamid.OURS==")
    body: dict[str, Any] = json.loads(request.body)
    valid(body)
    return body


def media(kind: str, mime: str = "image/jpeg", **fields: Any) -> Media:
    return Media(**({"id": "1", "kind": kind, "mime": mime, "url": LINK} | fields))


class TestRequest:
    def test_a_text(self) -> None:
        assert asked(Text(text="On its way.")) == {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": "447700900456",
            "type": "text",
            "text": {"body": "On its way.", "preview_url": False},
        }

    def test_it_is_posted_to_the_number_with_the_token(self) -> None:
        _, (request,) = play(GATEWAY.send(outbound(Text(text="Hi"))), TAKEN)
        assert request.url.partition("?")[0] == f"https://graph.facebook.com/v23.0/{FIRST}/messages"
        assert (request.method, request.content_type) == ("POST", "application/json")
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert not request.repeatable

    def test_who_has_no_number_is_reached_by_the_user_id(self) -> None:
        body = asked(Text(text="Hi"), recipient=USER_ID)
        assert (body["recipient"], "to" in body) == (USER_ID.partition(":")[2], False)

    def test_an_answer_quotes_what_it_answers_once(self) -> None:
        ref = MessageRef(external_id="wamid.THEIRS==")
        assert asked(Text(text="Hi"), reply_to=ref)["context"] == {"message_id": "wamid.THEIRS=="}
        assert "context" not in asked(Text(text="Hi"), reply_to=ref, piece=2)
        assert "context" not in asked(Text(text="Hi"), reply_to=MessageRef(id="0"))

    @pytest.mark.parametrize(
        ("part", "type", "content"),
        [
            (media("image"), "image", {"link": LINK}),
            (media("image", caption="Look"), "image", {"link": LINK, "caption": "Look"}),
            (media("video", "video/mp4", caption="Look"), "video", {"link": LINK, "caption": "Look"}),
            (media("audio", "audio/mpeg", caption="unseen"), "audio", {"link": LINK}),
            (media("voice", "audio/ogg"), "audio", {"link": LINK}),
            (media("sticker", "image/webp", name="unseen"), "sticker", {"link": LINK}),
            (
                media("file", "application/pdf", name="a.pdf", caption="This"),
                "document",
                {"link": LINK, "filename": "a.pdf", "caption": "This"},
            ),
        ],
    )
    def test_files_go_by_their_address(self, part: Media, type: str, content: dict[str, str]) -> None:
        body = asked(part)
        assert (body["type"], body[type]) == (type, content)

    def test_a_file_that_meta_has_goes_by_its_id(self) -> None:
        assert asked(media("image", url=None), media={"1": "5000"})["image"] == {"id": "5000"}

    def test_a_place(self) -> None:
        body = asked(Location(lat=51.5, lon=-0.12, name="The shop", address="1 High Street"))
        assert body["location"] == {
            "latitude": "51.500000",
            "longitude": "-0.120000",
            "name": "The shop",
            "address": "1 High Street",
        }

    def test_a_contact(self) -> None:
        card = ContactCard(
            name="Front desk",
            addresses=(
                "tel:+447700900789",
                "whatsapp:447700900789",
                "whatsapp:447700900790",
                "mailto:desk@shop.example",
                "mailto:desk",
                USER_ID,
                "slack:T1/U1",
            ),
        )
        assert asked(card)["contacts"] == [
            {
                "name": {"formatted_name": "Front desk", "first_name": "Front"},
                "phones": [
                    {"phone": "+447700900789", "wa_id": "447700900789"},
                    {"phone": "+447700900790", "wa_id": "447700900790"},
                ],
                "emails": [{"email": "desk@shop.example"}],
            }
        ]
        assert asked(ContactCard(name="Desk"))["contacts"] == [
            {"name": {"formatted_name": "Desk", "first_name": "Desk"}}
        ]

    def test_buttons(self) -> None:
        choices = Choices(prompt="Which?", options=(Option(id="y", title="Yes"), Option(id="n", title="No")))
        assert asked(choices)["interactive"] == {
            "type": "button",
            "body": {"text": "Which?"},
            "action": {
                "buttons": [
                    {"type": "reply", "reply": {"id": "y", "title": "Yes"}},
                    {"type": "reply", "reply": {"id": "n", "title": "No"}},
                ]
            },
        }

    def test_a_list_opens_under_the_accounts_label(self) -> None:
        options = (Option(id="1", title="Red", description="like the sun"), Option(id="2", title="Blue"))
        account = msgspec.structs.replace(NUMBER, list_label="Colours")
        body = asked(Choices(prompt="Which?", options=options, style="list"), account=account)
        assert body["interactive"]["action"] == {
            "button": "Colours",
            "sections": [
                {"rows": [{"id": "1", "title": "Red", "description": "like the sun"}, {"id": "2", "title": "Blue"}]}
            ],
        }

    def test_any_other_part_goes_as_its_words(self) -> None:
        assert asked(Notice(code="x", text="Closed today"))["text"]["body"] == "Closed today"

    @pytest.mark.parametrize(
        ("parts", "fields"),
        [
            ((), {}),
            ((Text(text="a"), Text(text="b")), {}),
            ((Text(text="a"),), {"recipient": "tel:+447700900456"}),
            ((media("image", url=None),), {}),
            ((media("image", url="http://shop.example/1"),), {}),
            ((media("image", "image/webp"),), {}),
        ],
    )
    def test_what_meta_has_no_form_for_is_refused_before_it_is_asked(
        self, parts: tuple[AnyPart, ...], fields: dict[str, Any]
    ) -> None:
        with pytest.raises(Rejected):
            play(GATEWAY.send(outbound(*parts, **fields)))


def template(*values: TemplateValue, params: tuple[str, ...] = (), lang: str = "en") -> dict[str, Any]:
    body: dict[str, Any] = asked(Template(name="update", lang=lang, params=params, values=values))["template"]
    return body


def refused(*parts: AnyPart) -> str:
    """Why this is refused before Meta is asked."""
    with pytest.raises(Rejected) as caught:
        play(GATEWAY.send(outbound(*parts)))
    return str(caught.value)


class TestTemplates:
    def test_one_without_parameters(self) -> None:
        assert template(lang="pt-BR") == {
            "name": "update",
            "language": {"policy": "deterministic", "code": "pt_BR"},
        }

    def test_every_kind_of_value_in_its_place(self) -> None:
        found = template(
            TemplateValue(value="€12.50", kind="currency", amount="12.50", currency="EUR"),
            TemplateValue(value="on Friday", kind="date_time"),
            TemplateValue(value="blue", name="colour"),
            TemplateValue(value="YES", kind="payload", place="button"),
            TemplateValue(value="order/1", kind="url", place="button", index=1),
            TemplateValue(value="order/2", place="button", index=2),
            TemplateValue(value=LINK, kind="document", place="header", name="a.pdf"),
            params=("first", "second"),
        )
        assert found["components"] == [
            {"type": "header", "parameters": [{"type": "document", "document": {"link": LINK, "filename": "a.pdf"}}]},
            {
                "type": "body",
                "parameters": [
                    {"type": "text", "text": "first"},
                    {"type": "text", "text": "second"},
                    {
                        "type": "currency",
                        "currency": {"fallback_value": "€12.50", "code": "EUR", "amount_1000": 12500},
                    },
                    {"type": "date_time", "date_time": {"fallback_value": "on Friday"}},
                    {"type": "text", "parameter_name": "colour", "text": "blue"},
                ],
            },
            {
                "type": "button",
                "index": "0",
                "sub_type": "quick_reply",
                "parameters": [{"type": "payload", "payload": "YES"}],
            },
            {
                "type": "button",
                "index": "1",
                "sub_type": "url",
                "parameters": [{"type": "text", "text": "order/1"}],
            },
            {
                "type": "button",
                "index": "2",
                "sub_type": "url",
                "parameters": [{"type": "text", "text": "order/2"}],
            },
        ]

    @pytest.mark.parametrize("kind", ["image", "video"])
    def test_a_header_may_be_a_picture_or_film(self, kind: str) -> None:
        (header,) = template(TemplateValue(value=LINK, kind=kind, place="header", name="unseen"))["components"]
        assert header["parameters"] == [{"type": kind, kind: {"link": LINK}}]

    @pytest.mark.parametrize(
        ("value", "why"),
        [
            (TemplateValue(value="x", place="footer"), "no place footer: write header, body or button"),
            (
                TemplateValue(value="x", kind="hologram"),
                "body can't take hologram: write text or currency or date_time",
            ),
            (TemplateValue(value="http://shop.example/1", kind="image", place="header"), "no https address"),
            (TemplateValue(value="12", kind="currency"), "needs an amount"),
            (TemplateValue(value="12", kind="currency", amount="12"), "a code of ISO 4217"),
            (TemplateValue(value="12", kind="currency", amount="NaN", currency="EUR"), "a finite amount"),
            (TemplateValue(value="12", kind="currency", amount="twelve", currency="EUR"), "as a decimal number"),
            (
                TemplateValue(value="x", kind="url", place="button", index=10),
                "no button 10: the first is 0, the last 9",
            ),
            (TemplateValue(value="x", kind="url", place="button", index=-1), "no button -1"),
            (TemplateValue(value="x" * 32_769), "more than 32,768 characters: make it shorter"),
            (TemplateValue(value="x" * 32_769, place="header"), "more than 32,768 characters"),
            (
                TemplateValue(value="", kind="payload", place="button"),
                "payload in its button is empty: give it a value",
            ),
            (TemplateValue(value="", kind="url", place="button"), "url in its button is empty"),
            (TemplateValue(value="", place="button"), "text in its button is empty"),
            (TemplateValue(value="", kind="date_time"), "date_time in its body is empty"),
        ],
    )
    def test_what_is_no_value_is_refused_before_meta_is_asked(self, value: TemplateValue, why: str) -> None:
        assert why in refused(Template(name="update", lang="en", values=(value,)))

    def test_a_text_in_order_is_not_too_long_either(self) -> None:
        assert "more than 32,768" in refused(Template(name="update", lang="en", params=("x" * 32_769,)))
        (body,) = template(params=("x" * 32_768,))["components"]
        assert len(body["parameters"][0]["text"]) == 32_768

    @pytest.mark.parametrize("amount", ["2147483.648", "-2147483.648", "1e999999999", "-1E+12"])
    def test_an_amount_that_meta_has_no_room_for_is_refused(self, amount: str) -> None:
        value = TemplateValue(value="a lot", kind="currency", amount=amount, currency="EUR")
        why = refused(Template(name="update", lang="en", values=(value,)))
        assert why.endswith("goes up to 2,147,483.647: write a larger amount as text")

    @pytest.mark.parametrize(
        ("amount", "thousandths"),
        [("2147483.647", 2_147_483_647), ("-2147483.647", -2_147_483_647), ("1e-999999999", 0), ("0.5", 500)],
    )
    def test_an_amount_goes_in_thousandths(self, amount: str, thousandths: int) -> None:
        value = TemplateValue(value="this much", kind="currency", amount=amount, currency="EUR")
        (body,) = template(value)["components"]
        assert body["parameters"][0]["currency"]["amount_1000"] == thousandths

    @pytest.mark.parametrize("kind", ["currency", "date_time"])
    def test_what_meta_knows_by_its_order_only_has_no_name(self, kind: str) -> None:
        value = TemplateValue(value="12", kind=kind, name="total", amount="12", currency="EUR")
        why = refused(Template(name="update", lang="en", values=(value,)))
        assert why.endswith(f"a template's {kind} has no name: leave the name out, or write it as text")

    @pytest.mark.parametrize(
        ("kind", "place"),
        [
            *itertools.product(("image", "video", "document"), ("body", "button")),
            *itertools.product(("currency", "date_time"), ("header", "button")),
            *itertools.product(("payload", "url"), ("header", "body")),
        ],
    )
    def test_what_does_not_go_into_a_place_is_refused_by_name(self, kind: str, place: str) -> None:
        value = TemplateValue(value=LINK, kind=kind, place=place, amount="12", currency="EUR")
        why = refused(Template(name="update", lang="en", values=(value,)))
        assert why.startswith(f"a template's {place} can't take {kind}: write ")

    @pytest.mark.parametrize(("place", "kinds"), PLACES.items())
    def test_what_goes_into_a_place_is_what_metas_document_says(self, place: str, kinds: tuple[str, ...]) -> None:
        said = re.findall("`([a-z_]+)`", whatsapp_openapi.parameters(place))
        assert set(kinds) - {"url"} == set(said), "url is our own word for a button's text"


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=1200)
OPTIONS = st.builds(
    Option,
    id=st.text(max_size=8) | st.text(max_size=300),
    title=st.text(max_size=8) | st.text(max_size=26),
    description=st.none() | st.text(max_size=8) | st.text(max_size=74),
)
PARTS: st.SearchStrategy[AnyPart] = st.one_of(
    st.builds(Text, text=WORDS),
    st.builds(
        media,
        st.sampled_from(["image", "video", "audio", "voice", "file"]),
        st.sampled_from(["image/jpeg", "video/mp4", "audio/ogg", "application/pdf", "text/x"]),
        caption=st.none() | WORDS,
    ),
    st.builds(Location, lat=st.floats(-90, 90), lon=st.floats(-180, 180), name=st.none() | WORDS),
    st.builds(
        ContactCard,
        name=WORDS.filter(str.strip),
        addresses=st.lists(
            st.sampled_from(["tel:+447700900789", "whatsapp:447700900789", USER_ID]) | WORDS.map("mailto:".__add__)
        ).map(tuple),
    ),
    st.builds(
        Choices,
        options=st.lists(OPTIONS, max_size=11, unique_by=(lambda o: o.id, lambda o: o.title)).map(tuple),
        prompt=st.none() | st.text(max_size=30) | WORDS,
        style=st.sampled_from(["buttons", "list", "quick"]),
    ),
)


@given(st.lists(PARTS, min_size=1, max_size=4))
def test_whatever_core_renders_meta_has_a_form_for(parts: list[AnyPart]) -> None:
    try:
        pieces = render(tuple(parts), WhatsAppCloud.capabilities)
    except Rejected:
        return
    for piece in pieces:
        asked(*piece)


VALUES = st.builds(
    TemplateValue,
    value=st.sampled_from(["", LINK, "x" * 32_768, "x" * 32_769]) | WORDS,
    kind=st.sampled_from([*itertools.chain(*PLACES.values()), "hologram"]),
    place=st.sampled_from([*PLACES, "footer"]),
    index=st.integers(-1, 10),
    name=st.none() | WORDS,
    amount=st.none() | st.decimals().map(str) | st.decimals(-3_000_000, 3_000_000).map(str) | WORDS,
    currency=st.sampled_from([None, "", "EUR", "euro"]),
)


@given(st.lists(VALUES, max_size=3), st.lists(WORDS, max_size=2))
def test_whatever_a_template_is_given_meta_has_a_form_for_or_it_is_refused(
    values: list[TemplateValue], params: list[str]
) -> None:
    with contextlib.suppress(Rejected):
        template(*values, params=tuple(params))


def done(command: MessageReact | MessageMarkSeen, answer: Response, recipient: str = CUSTOMER) -> dict[str, Any]:
    action = Action(account=NUMBER, recipient=recipient, target="wamid.THEIRS==", command=command)
    _, (request,) = play(GATEWAY.act(action), answer)
    body: dict[str, Any] = json.loads(request.body)
    valid(body)
    return body


class TestActions:
    TARGET = MessageRef(external_id="wamid.THEIRS==")

    @pytest.mark.parametrize(("action", "emoji"), [("add", "👍"), ("remove", "")])
    def test_a_reaction_and_its_end(self, action: str, emoji: str) -> None:
        body = done(MessageReact(target=self.TARGET, emoji="👍", action=action), TAKEN)
        assert body == {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": "447700900456",
            "type": "reaction",
            "reaction": {"message_id": "wamid.THEIRS==", "emoji": emoji},
        }

    def test_marking_as_read(self) -> None:
        assert done(MessageMarkSeen(target=self.TARGET), Response.of_json({"success": True})) == {
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": "wamid.THEIRS==",
        }

    def test_a_refusal_is_the_tables(self) -> None:
        refused = Response.of_json({"error": {"code": 131047}}, 400)
        with pytest.raises(WindowClosed):
            done(MessageReact(target=self.TARGET, emoji="👍"), refused)


BUTTONS = Choices(prompt="Which?", options=(Option(id="y", title="Yes"),))
MENU = msgspec.structs.replace(BUTTONS, style="list")
CARD = ContactCard(name="Desk", addresses=("whatsapp:447700900789", "mailto:desk@shop.example"))
PLACE = Location(lat=51.5, lon=-0.12, name="The shop", address="1 High Street")
FILLED = Template(
    name="update",
    lang="en",
    values=(
        TemplateValue(value=LINK, kind="document", place="header", name="a.pdf"),
        TemplateValue(value="blue", name="colour"),
        TemplateValue(value="€12.50", kind="currency", amount="12.50", currency="EUR"),
        TemplateValue(value="on Friday", kind="date_time"),
        TemplateValue(value="YES", kind="payload", place="button"),
        TemplateValue(value="order/1", kind="url", place="button", index=1),
    ),
)
TARGET = MessageRef(external_id="wamid.THEIRS==")
TYPING = "Send typing indicator and read receipt"
KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "text": lambda: asked(Text(text="Hi"), reply_to=TARGET),
    "to a user id": lambda: asked(Text(text="Hi"), recipient=USER_ID),
    "image": lambda: asked(media("image", caption="Look")),
    "video": lambda: asked(media("video", "video/mp4", caption="Look")),
    "audio": lambda: asked(media("voice", "audio/ogg")),
    "sticker": lambda: asked(media("sticker", "image/webp")),
    "document": lambda: asked(media("file", "application/pdf", caption="This")),
    "named document": lambda: asked(media("file", "application/pdf", name="a.pdf")),
    "media by id": lambda: asked(media("image", url=None), media={"1": "5000"}),
    "location": lambda: asked(PLACE),
    "contacts": lambda: asked(CARD),
    "buttons": lambda: asked(BUTTONS),
    "list": lambda: asked(MENU),
    "template": lambda: asked(FILLED),
    "reaction": lambda: done(MessageReact(target=TARGET, emoji="👍"), TAKEN),
    "read": lambda: done(MessageMarkSeen(target=TARGET), Response.of_json({"success": True})),
    "typing": lambda: whatsapp_openapi.examples()[TYPING],
}
NEEDED = {
    "recipient": "to a user id",
    "image caption": "image",
    "video caption": "video",
    "document caption": "document",
    "document name": "named document",
    "name of a template's document": "template",
    "named parameter": "template",
    "index of a component": "template",
    "index of a button": "template",
    "read receipt": "read",
    "typing indicator": "typing",
}
VALIDATORS = pytest.mark.parametrize("validator", [METAS, OURS], ids=["metas", "ours"])


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in it, the outermost first."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(child)


class TestWhatTheBodiesAreHeldAgainst:
    @pytest.mark.parametrize("kind", KINDS)
    def test_each_kind_of_message_is_allowed_by_both(self, kind: str) -> None:
        valid(KINDS[kind]())

    @VALIDATORS
    @pytest.mark.parametrize("kind", KINDS)
    def test_an_unknown_field_is_refused_wherever_it_stands(self, kind: str, validator: Validator) -> None:
        body = KINDS[kind]()
        for place in range(len(list(objects(body)))):
            changed = deepcopy(body)
            list(objects(changed))[place]["colour"] = "blue"
            assert not validator.is_valid(changed), changed

    @VALIDATORS
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_missing_field_is_refused(self, kind: str, validator: Validator) -> None:
        body = KINDS[kind]()
        for name in body.keys() - {"context", "typing_indicator"}:
            assert not validator.is_valid({field: value for field, value in body.items() if field != name}), name

    @pytest.mark.parametrize(
        ("kind", "content"),
        [
            ("image", "link"),
            ("sticker", "link"),
            ("media by id", "id"),
            ("buttons", "action"),
            ("list", "type"),
            ("template", "name"),
            ("template", "language"),
            ("typing", "type"),
        ],
    )
    @VALIDATORS
    def test_content_without_what_makes_it_up_is_refused(self, kind: str, content: str, validator: Validator) -> None:
        body = KINDS[kind]()
        del body[body.get("type", "typing_indicator")][content]
        assert not validator.is_valid(body)

    def test_as_it_is_metas_document_refuses_every_example_of_its_own(self) -> None:
        """Why it is repaired: where this fails, it may be no longer needed."""
        as_it_is = whatsapp_openapi.as_it_is()
        assert not [name for name, body in whatsapp_openapi.examples().items() if as_it_is.is_valid(body)]

    @pytest.mark.parametrize(
        "name",
        [
            "Send Audio Message by ID",
            "Send Document Message by ID",
            "Send Image Message by URL",
            "Send List Message",
            "Send Reply Button",
            "Send Reply to Sticker Message by URL",
            "Send Reply to Text Message",
            "Send Reply to Video Message by URL",
            "Send Reply with Reaction Message",
            TYPING,
        ],
    )
    def test_repaired_it_allows_its_examples_of_what_we_send(self, name: str) -> None:
        METAS.validate(whatsapp_openapi.examples()[name])

    @pytest.mark.parametrize("exception", whatsapp_openapi.EXCEPTIONS)
    def test_an_exception_is_needed(self, exception: str) -> None:
        without = whatsapp_openapi.validator(without=exception)
        assert not without.is_valid(KINDS[NEEDED[exception]]()), whatsapp_openapi.EXCEPTIONS[exception].why


class TestAnswers:
    @pytest.mark.parametrize(
        ("status", "code", "expected"),
        [
            (400, 131047, WindowClosed),
            (400, 131050, OptedOut),
            (400, 131026, Rejected),
            (400, 131051, Rejected),
            (401, 190, CredentialsRefused),
            (403, 10, CredentialsRefused),
            (403, 200, CredentialsRefused),
            (400, 100, Rejected),
            (400, 130429, Throttled),
            (400, 131056, Throttled),
            (400, 80007, Throttled),
            (500, 1, Ambiguous),
        ],
    )
    def test_a_refusal_means_what_the_table_says(self, status: int, code: int, expected: type[SendError]) -> None:
        answer = Response.of_json({"error": {"code": code, "message": "no"}}, status)
        with pytest.raises(SendError) as refused:
            play(GATEWAY.send(outbound(Text(text="Hi"))), answer)
        assert type(refused.value) is expected

    @pytest.mark.parametrize("body", [{}, {"messages": []}, {"messages": [{"id": ""}]}, {"messages": 1}])
    def test_a_success_that_can_not_be_read_may_have_been_sent(self, body: Any) -> None:
        with pytest.raises(Ambiguous):
            play(GATEWAY.send(outbound(Text(text="Hi"))), Response.of_json(body))

    @pytest.mark.parametrize("error", [Unreachable("x"), Throttled("x"), Ambiguous("x")])
    def test_what_core_throws_passes(self, error: SendError) -> None:
        with pytest.raises(type(error)):
            play(GATEWAY.send(outbound(Text(text="Hi"))), error)


class TestErrors:
    def test_no_code_is_in_two_tables(self) -> None:
        tables = (
            errors._RETRY,
            errors._OPTED_OUT,
            errors._WINDOW_CLOSED,
            errors._CREDENTIALS,
            errors._REJECTED,
            errors._FAILED,
        )
        assert sum(map(len, tables)) == len(errors.ERRORS)

    @pytest.mark.parametrize(
        ("code", "outcome"),
        [
            ("131047", Outcome.WINDOW_CLOSED),
            ("131026", Outcome.FAILED),
            ("131050", Outcome.OPTED_OUT),
            ("131056", Outcome.RETRY),
            ("190", Outcome.CREDENTIALS),
            ("131051", Outcome.REJECTED),
        ],
    )
    def test_the_ones_that_matter_most(self, code: str, outcome: Outcome) -> None:
        assert errors.ERRORS[code].outcome is outcome


def test_its_pace_is_metas() -> None:
    found = WhatsAppCloud.capabilities
    assert found.rate is not None
    assert found.recipient_rate is not None
    assert (found.rate.per_second, found.recipient_rate.burst) == (80, 45)
    assert round(1 / found.recipient_rate.per_second) == 6
