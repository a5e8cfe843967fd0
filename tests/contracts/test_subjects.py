"""Subjects: no text of a provider or a customer leaves its token, let alone its tenant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway_contracts import COMMANDS, EVENTS, subjects
from sluiceway_contracts.subjects import CommandSubject, EventSubject, InvalidSubject

TOKENS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True).filter(lambda text: text not in ("_", "any"))
ABSENT_OR_TOKEN = st.none() | TOKENS
HOSTILE = st.text() | st.sampled_from(
    ["*", ">", "a.b", "a.>", "", " ", "_", "any", "a\n", "é", "A" * 65, "\x00", "$SYS"]
)
EVENT_TYPES = st.sampled_from(sorted(EVENTS))
COMMAND_TYPES = st.sampled_from(sorted(COMMANDS))


class TestEvent:
    def test_tokens_mirror_the_type(self) -> None:
        subject = subjects.event("acme", "sluiceway.message.received", "sms", "c1", "v1")
        assert subject == "sluiceway.v1.acme.events.message.received.sms.c1.v1"

    def test_an_absent_token_is_an_underscore(self) -> None:
        assert subjects.event("_", "sluiceway.account.unknown", "sms").endswith("._.events.account.unknown.sms._._")

    def test_live_has_a_room_of_its_own(self) -> None:
        subject = subjects.event("acme", "sluiceway.typing.changed", room="live", prefix="eu")
        assert subject == "eu.v1.acme.live.typing.changed._._._"

    @given(TOKENS, EVENT_TYPES, ABSENT_OR_TOKEN, ABSENT_OR_TOKEN, ABSENT_OR_TOKEN, st.sampled_from(["events", "live"]))
    def test_what_was_built_is_parsed_again(
        self, tenant: str, type: str, channel: str | None, contact: str | None, conversation: str | None, room: str
    ) -> None:
        live = room == "live"
        subject = subjects.event(tenant, type, channel, contact, conversation, room="live" if live else "events")
        assert subjects.parse_event(subject) == EventSubject(tenant, room, type, channel, contact, conversation)

    @given(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    def test_hostile_text_builds_no_subject_outside_its_tenant(
        self, tenant: str, verb: str, channel: str, contact: str, conversation: str
    ) -> None:
        try:
            subject = subjects.event(tenant, f"sluiceway.message.{verb}", channel, contact, conversation)
        except InvalidSubject:
            return
        assert subject.split(".") == [
            *("sluiceway", "v1", tenant, "events", "message", verb),
            *(channel, contact, conversation),
        ]
        assert subject.isascii()
        assert not set(subject) & set("*> \t\r\n\x00")

    @pytest.mark.parametrize("name", ["_", "any", "", "a.b", "*", ">", "a b", "a\n", "A" * 65, "ä"])
    def test_what_is_no_name_is_refused_for_a_channel(self, name: str) -> None:
        with pytest.raises(InvalidSubject) as refused:
            subjects.event("acme", "sluiceway.message.received", name)
        assert refused.value.text == name

    @pytest.mark.parametrize("type", ["", "message.received", "sluiceway.message", "sluiceway.a.b.c", "sluiceway._.x"])
    def test_what_is_no_type_is_refused(self, type: str) -> None:
        with pytest.raises(InvalidSubject):
            subjects.event("acme", type)


class TestCommand:
    def test_goes_to_the_dispatcher_unless_it_names_an_account(self) -> None:
        assert subjects.command("acme", "sluiceway.message.send", "v1") == (
            "sluiceway.v1.acme.commands.any.any.message.send.v1"
        )
        assert subjects.command("acme", "sluiceway.message.send", channel="sms", account="uk-sms") == (
            "sluiceway.v1.acme.commands.sms.uk-sms.message.send._"
        )

    @given(TOKENS, COMMAND_TYPES, ABSENT_OR_TOKEN, TOKENS | st.just("any"), TOKENS | st.just("any"))
    def test_what_was_built_is_parsed_again(
        self, tenant: str, type: str, conversation: str | None, channel: str, account: str
    ) -> None:
        subject = subjects.command(tenant, type, conversation, channel=channel, account=account)
        assert subjects.parse_command(subject) == CommandSubject(tenant, channel, account, type, conversation)

    @given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    def test_hostile_text_builds_no_subject_outside_its_tenant(
        self, tenant: str, channel: str, account: str, conversation: str
    ) -> None:
        try:
            subject = subjects.command(tenant, "sluiceway.message.send", conversation, channel=channel, account=account)
        except InvalidSubject:
            return
        assert subject.split(".")[2:] == [tenant, "commands", channel, account, "message", "send", conversation]

    @pytest.mark.parametrize("tenant", ["_", "any", "acme.evil"])
    def test_belongs_to_a_tenant(self, tenant: str) -> None:
        with pytest.raises(InvalidSubject):
            subjects.command(tenant, "sluiceway.message.send")

    @pytest.mark.parametrize("where", [{"channel": "_"}, {"account": "_"}])
    def test_has_a_channel_and_an_account(self, where: dict[str, str]) -> None:
        with pytest.raises(InvalidSubject):
            subjects.command("acme", "sluiceway.message.send", **where)


class TestLiveCommand:
    def test_needs_only_a_tenant_and_a_conversation(self) -> None:
        subject = subjects.live_command("acme", "sluiceway.typing.set", "v1")
        assert subject == "sluiceway.v1.acme.live.typing.set._._.v1"

    @given(TOKENS, COMMAND_TYPES, ABSENT_OR_TOKEN, ABSENT_OR_TOKEN, ABSENT_OR_TOKEN)
    def test_what_was_built_is_parsed_again(
        self, tenant: str, type: str, channel: str | None, contact: str | None, conversation: str | None
    ) -> None:
        subject = subjects.live_command(tenant, type, conversation, channel=channel, contact=contact)
        found = subjects.parse_live_command(subject)
        assert found == EventSubject(tenant, "live", type, channel, contact, conversation)

    @given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    def test_hostile_text_builds_no_subject_outside_its_tenant(
        self, tenant: str, channel: str, contact: str, conversation: str
    ) -> None:
        type = "sluiceway.typing.set"
        try:
            subject = subjects.live_command(tenant, type, conversation, channel=channel, contact=contact)
        except InvalidSubject:
            return
        assert subject.split(".")[2:] == [tenant, "live", "typing", "set", channel, contact, conversation]

    @pytest.mark.parametrize(
        "subject",
        [
            "sluiceway.v1._.live.typing.set._._.v1",
            "sluiceway.v1.any.live.typing.set._._.v1",
            "sluiceway.v1.acme.events.typing.set._._.v1",
            "sluiceway.v1.acme.commands.any.any.typing.set.v1",
            "sluiceway.v1.acme.live.typing.set.any.any.v1",
            "sluiceway.v1.acme.live.typing.set._._.*",
            "sluiceway.v1.acme.live.typing.set._.v1",
        ],
    )
    def test_of_no_tenant_or_of_another_room_is_none(self, subject: str) -> None:
        with pytest.raises(InvalidSubject):
            subjects.parse_live_command(subject)


class TestAsk:
    def test_names_the_question(self) -> None:
        assert subjects.ask("acme", "can-send") == "sluiceway.v1.acme.ask.can-send"

    @given(HOSTILE, HOSTILE)
    def test_hostile_text_asks_no_other_tenant(self, tenant: str, question: str) -> None:
        try:
            subject = subjects.ask(tenant, question)
        except InvalidSubject:
            return
        assert subject.split(".") == ["sluiceway", "v1", tenant, "ask", question]


class TestParsing:
    @pytest.mark.parametrize(
        "subject",
        [
            "",
            "sluiceway.v1.",
            "sluiceway.v2.acme.events.message.received.sms.c.v",
            "other.v1.acme.events.message.received.sms.c.v",
            "sluiceway.v1.acme.events.message.received.sms.c",
            "sluiceway.v1.acme.events.message.received.sms.c.v.w",
            "sluiceway.v1.acme.dead.message.received.sms.c.v",
            "sluiceway.v1.acme.events.message.received.sms.*.>",
            "sluiceway.v1.acme.events.message.received.sms..v",
        ],
    )
    def test_refuses_what_is_no_subject_of_the_contract(self, subject: str) -> None:
        with pytest.raises(InvalidSubject):
            subjects.parse_event(subject)
        with pytest.raises(InvalidSubject):
            subjects.parse_command(subject)

    @given(st.text())
    def test_of_any_text_fails_in_one_way_only(self, subject: str) -> None:
        for parse in (subjects.parse_event, subjects.parse_command, subjects.parse_live_command):
            with pytest.raises(InvalidSubject):
                parse(subject)
