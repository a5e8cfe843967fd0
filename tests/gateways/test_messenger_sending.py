"""MessengerMeta and InstagramMeta as senders: every part as Meta wants it, and what each of its answers means."""

import hashlib
import hmac
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway import (
    Action,
    Ambiguous,
    CredentialsRefused,
    Outbound,
    Rejected,
    Response,
    SendError,
    Sent,
    Throttled,
    Unreachable,
    WindowClosed,
)
from sluiceway import config as configuration
from sluiceway.render import render
from sluiceway.testing import play
from sluiceway_contracts import (
    AnyPart,
    Choices,
    Location,
    Media,
    MessageMarkSeen,
    MessageRef,
    Notice,
    Option,
    Text,
)
from sluiceway_gateways import _meta_messaging_errors as errors
from sluiceway_gateways._meta_messaging import Business, MetaMessaging
from sluiceway_gateways.instagram.meta import Profile
from sluiceway_gateways.messenger.meta import Page

from .messaging import CUSTOMER, FIRST, FOLLOWER, INSTAGRAM, MESSENGER, OTHER, PAGE, PROFILE, SECOND, SECRET, TOKEN

TAKEN = Response.of_json({"recipient_id": "5520011000000456", "message_id": "m_OURS"})
LATE = Response.of_json({"error": {"code": 10, "error_subcode": 2018278, "message": "too late"}}, 400)
LINK = "https://shop.example/1"
CHANNELS: dict[str, tuple[MetaMessaging, Business, str]] = {
    "messenger": (MESSENGER, PAGE, CUSTOMER),
    "instagram": (INSTAGRAM, PROFILE, FOLLOWER),
}


def outbound(*parts: AnyPart, channel: str = "messenger", **fields: Any) -> Outbound[Business]:
    _, account, recipient = CHANNELS[channel]
    given: dict[str, Any] = {"message_id": "0", "account": account, "recipient": recipient, "parts": parts} | fields
    return Outbound[Business](**given)


def asked(*parts: AnyPart, channel: str = "messenger", **fields: Any) -> dict[str, Any]:
    """The body of the only request that sends this."""
    gateway = CHANNELS[channel][0]
    sent, (request,) = play(gateway.send(outbound(*parts, channel=channel, **fields)), TAKEN)
    assert sent == Sent(external_id="m_OURS")
    body: dict[str, Any] = json.loads(request.body)
    assert body["messaging_type"] == "RESPONSE"
    return body


def media(kind: str, mime: str, **fields: Any) -> Media:
    return Media(**({"id": "1", "kind": kind, "mime": mime, "url": LINK} | fields))


def options(count: int) -> tuple[Option, ...]:
    return tuple(Option(id=f"id-{n}", title=f"Title {n}") for n in range(count))


class TestRequest:
    def test_a_text_goes_to_the_page_with_the_proof_of_its_token(self) -> None:
        _, (request,) = play(MESSENGER.send(outbound(Text(text="Hi"))), TAKEN)
        proof = hmac.new(SECRET.encode(), TOKEN.encode(), hashlib.sha256).hexdigest()
        assert request.url == f"https://graph.facebook.com/v23.0/{FIRST}/messages?appsecret_proof={proof}"
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert json.loads(request.body) == {
            "recipient": {"id": "5520011000000456"},
            "messaging_type": "RESPONSE",
            "message": {"text": "Hi"},
        }

    def test_on_instagram_the_token_says_whose_it_is(self) -> None:
        _, (request,) = play(INSTAGRAM.send(outbound(Text(text="Hi"), channel="instagram")), TAKEN)
        assert request.url.startswith("https://graph.facebook.com/v23.0/me/messages?")
        assert json.loads(request.body)["recipient"] == {"id": "9988770000000456"}

    def test_a_pages_own_token_goes_before_the_connections(self) -> None:
        message = outbound(Text(text="Hi"), account=OTHER, recipient=f"messenger:{SECOND}/1")
        _, (request,) = play(MESSENGER.send(message), TAKEN)
        proof = hmac.new(SECRET.encode(), b"EAAother", hashlib.sha256).hexdigest()
        assert request.headers["authorization"] == "Bearer EAAother"
        assert request.url.endswith(f"{SECOND}/messages?appsecret_proof={proof}")

    def test_the_first_piece_answers_a_message(self) -> None:
        ref = MessageRef(external_id="m_THEIRS")
        assert asked(Text(text="Hi"), reply_to=ref)["reply_to"] == {"mid": "m_THEIRS"}
        assert "reply_to" not in asked(Text(text="Hi"), reply_to=ref, piece=2)
        assert "reply_to" not in asked(Text(text="Hi"), reply_to=MessageRef(id="0"))

    @pytest.mark.parametrize("channel", CHANNELS)
    @pytest.mark.parametrize(
        ("part", "type"),
        [
            (media("image", "image/png"), "image"),
            (media("sticker", "image/gif"), "image"),
            (media("video", "video/mp4"), "video"),
            (media("voice", "audio/mp4"), "audio"),
            (media("file", "application/pdf"), "file"),
        ],
    )
    def test_files_go_by_their_address(self, channel: str, part: Media, type: str) -> None:
        assert asked(part, channel=channel)["message"] == {"attachment": {"type": type, "payload": {"url": LINK}}}

    def test_few_choices_are_buttons(self) -> None:
        ((part,),) = render((Choices(prompt="Which?", options=options(2)),), MESSENGER.capabilities)
        assert asked(part)["message"]["attachment"]["payload"] == {
            "template_type": "button",
            "text": "Which?",
            "buttons": [
                {"type": "postback", "title": "Title 0", "payload": "id-0"},
                {"type": "postback", "title": "Title 1", "payload": "id-1"},
            ],
        }

    def test_more_are_quick_replies(self) -> None:
        ((part,),) = render((Choices(prompt="Which?", options=options(13)),), MESSENGER.capabilities)
        message = asked(part)["message"]
        assert message["text"] == "Which?"
        assert message["quick_replies"][12] == {"content_type": "text", "title": "Title 12", "payload": "id-12"}

    def test_too_many_are_text(self) -> None:
        ((part,),) = render((Choices(prompt="Which?", options=options(14)),), MESSENGER.capabilities)
        assert asked(part)["message"]["text"].endswith("14. Title 13")

    def test_any_other_part_goes_as_its_words(self) -> None:
        assert asked(Notice(code="x", text="Closed today"))["message"] == {"text": "Closed today"}

    @pytest.mark.parametrize(
        ("parts", "fields"),
        [
            ((), {}),
            ((Text(text="a"), Text(text="b")), {}),
            ((Text(text="a"),), {"recipient": "tel:+447700900456"}),
            ((Text(text="a"),), {"recipient": f"messenger:{SECOND}/1"}),
            ((Text(text="a"),), {"recipient": f"messenger:{FIRST}"}),
            ((media("image", "image/png", url=None),), {}),
            ((media("image", "image/png", url="http://shop.example/1"),), {}),
        ],
    )
    def test_what_meta_has_no_form_for_is_refused_before_it_is_asked(
        self, parts: tuple[AnyPart, ...], fields: dict[str, Any]
    ) -> None:
        with pytest.raises(Rejected):
            play(MESSENGER.send(outbound(*parts, **fields)))


class TestHumanAgent:
    MESSAGE = outbound(Text(text="Hi"), account=OTHER, recipient=f"messenger:{SECOND}/1")

    def test_what_the_window_refuses_is_sent_as_a_persons_answer(self) -> None:
        sent, (first, second) = play(MESSENGER.send(self.MESSAGE), LATE, TAKEN)
        assert sent.external_id == "m_OURS"
        assert json.loads(first.body)["messaging_type"] == "RESPONSE"
        tagged = json.loads(second.body)
        assert (tagged["messaging_type"], tagged["tag"]) == ("MESSAGE_TAG", "HUMAN_AGENT")
        assert tagged["message"] == {"text": "Hi"}

    def test_after_seven_days_that_is_refused_too(self) -> None:
        with pytest.raises(WindowClosed) as refused:
            play(MESSENGER.send(self.MESSAGE), LATE, LATE)
        assert refused.value.provider_code == "10/2018278"

    def test_what_is_refused_for_another_reason_is_not_asked_again(self) -> None:
        with pytest.raises(CredentialsRefused):
            play(MESSENGER.send(self.MESSAGE), Response.of_json({"error": {"code": 190}}, 401))

    def test_where_no_people_answer_the_tag_is_not_used(self) -> None:
        with pytest.raises(WindowClosed):
            play(MESSENGER.send(outbound(Text(text="Hi"))), LATE)


class TestAnswers:
    @pytest.mark.parametrize(
        ("code", "subcode", "expected"),
        [
            (10, 2018278, WindowClosed),
            (10, 2534022, WindowClosed),
            (10, 2018300, Rejected),
            (10, None, CredentialsRefused),
            (551, 1545041, Rejected),
            (200, 1545041, Rejected),
            (200, None, CredentialsRefused),
            (190, 460, CredentialsRefused),
            (100, 2018001, Rejected),
            (100, None, Rejected),
            (4, None, Throttled),
            (613, None, Throttled),
            (80006, None, Throttled),
            (987654, None, Rejected),
        ],
    )
    def test_a_refusal_means_what_the_table_says(
        self, code: int, subcode: int | None, expected: type[SendError]
    ) -> None:
        answer = Response.of_json({"error": {"code": code, "error_subcode": subcode, "message": "no"}}, 400)
        with pytest.raises(SendError) as refused:
            play(MESSENGER.send(outbound(Text(text="Hi"))), answer)
        assert type(refused.value) is expected

    @pytest.mark.parametrize("body", [{}, {"message_id": ""}, {"message_id": 1}, []])
    def test_a_success_that_can_not_be_read_may_have_been_sent(self, body: Any) -> None:
        with pytest.raises(Ambiguous):
            play(MESSENGER.send(outbound(Text(text="Hi"))), Response.of_json(body))

    @pytest.mark.parametrize("error", [Unreachable("x"), Throttled("x"), Ambiguous("x")])
    def test_what_core_throws_passes(self, error: SendError) -> None:
        with pytest.raises(type(error)):
            play(MESSENGER.send(outbound(Text(text="Hi"))), error)

    def test_no_code_is_in_two_tables(self) -> None:
        tables = (
            errors._RETRY,
            errors._WINDOW_CLOSED,
            errors._CREDENTIALS,
            errors._REJECTED,
            errors._FAILED,
        )
        assert sum(map(len, tables)) == len(errors.ERRORS)


class TestActions:
    ACTION = Action[Business](
        account=PAGE,
        recipient=CUSTOMER,
        target="m_THEIRS",
        command=MessageMarkSeen(target=MessageRef(external_id="m_THEIRS")),
    )

    def test_what_the_customer_wrote_is_marked_as_seen(self) -> None:
        _, (request,) = play(MESSENGER.act(self.ACTION), Response.of_json({"recipient_id": "1"}))
        assert json.loads(request.body) == {
            "recipient": {"id": "5520011000000456"},
            "sender_action": "mark_seen",
        }

    def test_a_refusal_is_the_tables(self) -> None:
        with pytest.raises(WindowClosed):
            play(MESSENGER.act(self.ACTION), LATE)


class TestAccounts:
    @pytest.mark.parametrize(
        "address", ["messenger:1/2", "messenger:1", f"instagram:{FIRST}/{FIRST}", "tel:+447700900123"]
    )
    def test_a_page_has_its_id_twice(self, address: str) -> None:
        with pytest.raises(ValueError, match="messenger:<id>/<id>"):
            Page(connection="meta", tenant="acme", address=address)

    def test_so_has_an_account(self) -> None:
        with pytest.raises(ValueError, match="instagram:<id>/<id>"):
            Profile(connection="meta", tenant="acme", address=f"messenger:{FIRST}/{FIRST}")
        assert INSTAGRAM.accounts == {PROFILE.id: PROFILE}


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=1200)
PARTS: st.SearchStrategy[AnyPart] = st.one_of(
    st.builds(Text, text=WORDS),
    st.builds(
        media,
        st.sampled_from(["image", "video", "audio", "file"]),
        st.sampled_from(["image/jpeg", "image/webp", "video/mp4", "audio/ogg", "application/pdf", "text/x"]),
        caption=st.none() | WORDS,
    ),
    st.builds(Location, lat=st.floats(-90, 90), lon=st.floats(-180, 180)),
    st.builds(
        Choices,
        options=st.integers(0, 15).map(options),
        prompt=st.none() | st.text(max_size=30) | WORDS,
        style=st.sampled_from(["buttons", "list", "quick"]),
    ),
)


@given(st.sampled_from(sorted(CHANNELS)), st.lists(PARTS, min_size=1, max_size=4))
def test_whatever_core_renders_keeps_to_metas_limits(channel: str, parts: list[AnyPart]) -> None:
    capabilities = CHANNELS[channel][0].capabilities
    try:
        pieces = render(tuple(parts), capabilities)
    except Rejected:
        return
    for piece in pieces:
        message = asked(*piece, channel=channel)["message"]
        assert capabilities.text.length(message.get("text", "-")) <= capabilities.text.limit
        assert len(message.get("quick_replies", ())) <= 13


def test_a_text_is_measured_as_each_channel_does() -> None:
    assert len(render((Text(text="é" * 1001),), MESSENGER.capabilities)) == 1
    assert len(render((Text(text="é" * 501),), INSTAGRAM.capabilities)) == 2


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_example_of_the_documentation_is_a_configuration(channel: str, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / f"docs/channels/{channel}.md").read_text(encoding="utf-8")
    start = text.index(f"       [connections.{channel}]")
    file = tmp_path / "sluiceway.toml"
    file.write_text(textwrap.dedent(text[start : text.index("\n\n", text.index("address = ", start))]))
    secrets = dict.fromkeys(("META_APP_SECRET", "META_VERIFY_TOKEN", "META_PAGE_TOKEN"), "x")
    config = configuration.load(str(file), secrets)
    (account,) = config.accounts(config.connections()).values()
    assert isinstance(account, Business)
    assert (account.scheme, account.human_agent) == (channel, False)
