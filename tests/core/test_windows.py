"""How long a conversation lasts, on whatever channel; and which conversation a reply token admits to."""

from __future__ import annotations

import datetime

import pytest

from sluiceway import continuity as module
from sluiceway import metrics
from sluiceway.bus.link import Link
from sluiceway.bus.streams import Layout
from sluiceway.config import Conversations
from sluiceway.contacts import Change, Known, Reach, Window, begun, closed, heard
from sluiceway.gateway import ReplyToken
from sluiceway.placement import Placement
from sluiceway.sections import ChannelWindow, TenantWindow
from sluiceway.stream import EventStream
from sluiceway.tokens import Tokens
from sluiceway.windows import Windows
from sluiceway_contracts import Event
from sluiceway_contracts.values import now

from .test_continuity import ANN, Process

HOUR = datetime.timedelta(hours=1)
START = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
SECRET = b"an identity key for tests only"


@pytest.mark.parametrize(
    ("tenant", "channel", "idle", "reopen"),
    [
        ("acme", "sms", 10, 30),
        ("acme", "email", 5, 20),
        ("globex", "sms", 7, 168),
        ("globex", "email", 336, 168),
        ("globex", "webform", 72, 9),
    ],
)
def test_of_windows_the_nearest_that_is_set_holds(tenant: str, channel: str, idle: int, reopen: int) -> None:
    own = TenantWindow(
        idle_h=10, reopen_h=20, channels={"email": ChannelWindow(idle_h=5), "sms": ChannelWindow(reopen_h=30)}
    )
    everywhere = {"sms": ChannelWindow(idle_h=7), "webform": ChannelWindow(reopen_h=9)}
    windows = Windows(Conversations(channels=everywhere, tenants={"acme": own}))
    for _ in range(2):
        assert windows.of(tenant, channel) == Window(idle * HOUR, reopen * HOUR)


@pytest.mark.parametrize(
    ("hours", "told"),
    [
        (71, []),
        (72, ["ConversationClosed", "ConversationReopened"]),
        (72 + 167, ["ConversationClosed", "ConversationReopened"]),
        (72 + 168, ["ConversationClosed", "ConversationOpened"]),
    ],
)
def test_a_word_after_so_many_hours_goes_on_reopens_or_begins_anew(hours: int, told: list[str]) -> None:
    change = Change("acme", "somebody", START)
    record = begun(change, ANN, Known(ANN.address, "channel", "message", START), "inbound")
    window = Windows(Conversations()).of("acme", "sms")
    later = heard(change._replace(at=START + hours * HOUR), record, reach=ANN, window=window, reason="inbound")
    events = [Event.decode(bytes(raw)).data for raw in later.untold[1:]]
    assert [type(data).__name__ for data in events] == told
    if "ConversationOpened" in told:
        assert later.conversation != record.conversation
        assert getattr(events[-1], "previous_id", None) == record.conversation
    else:
        assert later.conversation == record.conversation


@pytest.mark.parametrize(("minutes", "told"), [(1, []), (3, ["ConversationReopened"])])
def test_an_answer_that_goes_out_just_after_the_end_leaves_it_ended(minutes: int, told: list[str]) -> None:
    change = Change("acme", "somebody", START)
    record = begun(change, ANN, Known(ANN.address, "channel", "message", START), "inbound")
    record = closed(change, record, "command", START)
    window = Windows(Conversations()).of("acme", "sms")
    at = START + datetime.timedelta(minutes=minutes)
    after = heard(change._replace(at=at), record, reach=ANN, window=window, reason="outbound")
    assert [type(Event.decode(bytes(raw)).data).__name__ for raw in after.untold[2:]] == told
    assert (after.closed_at is None) == bool(told)
    answered = heard(change._replace(at=at), record, reach=ANN, window=window, reason="inbound")
    assert answered.closed_at is None, "the customer's word opens it again at once"


@pytest.mark.usefixtures("layout")
async def test_an_idle_conversation_is_followed_by_another_for_every_process(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Process(link), Process(link)
    first = await one.resolve()
    monkeypatch.setattr(module, "now", lambda: datetime.datetime.now(datetime.UTC) + 24 * 30 * HOUR)
    second = await one.resolve()
    assert (second.is_new, second.contact) == (True, first.contact)
    assert second.conversation != first.conversation
    again = await other.resolve()
    assert (again.conversation, again.is_new) == (second.conversation, False)


@pytest.mark.parametrize(
    ("secret", "tenant", "hours", "outcome"),
    [
        (SECRET, "acme", 24, "valid"),
        (SECRET, "globex", 24, "forged"),
        (b"somebody else's key, long enough", "acme", 24, "forged"),
        (SECRET, "acme", -24, "expired"),
    ],
)
async def test_a_token_that_is_forged_expired_or_anothers_is_counted_and_admits_nobody(
    link: Link, layout: Layout, secret: bytes, tenant: str, hours: int, outcome: str
) -> None:
    core = _Core()
    owner = await Process(link).resolve()
    placed = Placement(core, SECRET, link, layout, EventStream(link, link.settings.prefix))  # type: ignore[arg-type]
    expires = now() + hours * HOUR
    text = Tokens([secret]).issue(tenant, owner.conversation, expires, purpose="address")
    before = metrics.count(metrics.reply_tokens, outcome)._value.get()
    admitted = placed._admitted("acme", (ReplyToken(text=f"help+{text}@example.com", purpose="address"),))
    assert admitted == (owner.conversation if outcome == "valid" else None)
    assert metrics.count(metrics.reply_tokens, outcome)._value.get() == before + 1
    if admitted is not None:
        stranger = Reach("mailto:eve@example.com", "email", "desk")
        place = await placed.continuity.admit("acme", admitted, stranger)
        assert place is not None
        assert (place.conversation, place.guest) == (owner.conversation, True)


class _Core:
    """As much of a configuration as `Placement` reads."""

    def __init__(self) -> None:
        self.conversations = Conversations()
        self.nats = _Nats()


class _Nats:
    prefix = "sluiceway"
