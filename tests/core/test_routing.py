"""Which way a message takes: what holds of every choice, whatever is known."""

from __future__ import annotations

import datetime

from hypothesis import given
from hypothesis import strategies as st

from sluiceway.accounts import Notice
from sluiceway.consents import ConsentRecord
from sluiceway.contacts import Reach
from sluiceway.gateway import Capabilities
from sluiceway.routing import View, Way, Wish, candidates, explain, first, following, ways
from sluiceway.units import Chars
from sluiceway_contracts import ConsentChanged

AT = datetime.datetime(2026, 1, 14, 12, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
CHANNELS = ("sms", "chat", "email")
SCHEMES = {"sms": ("tel",), "chat": ("tel",), "email": ("mailto",)}
ADDRESSES = ("tel:+447700900456", "tel:+447700900457", "mailto:ann@shop.example")

channels, names = st.sampled_from(CHANNELS), st.sampled_from(("a", "b"))
reaches = st.builds(Reach, address=st.sampled_from(ADDRESSES), channel=channels, account=names)


def notice(channel: str, *, sends: bool = True, health: str = "healthy") -> Notice:
    return Notice(
        connection="c",
        gateway=f"{channel}.x",
        address="tel:+447700900123",
        capabilities=Capabilities(text=Chars(100)),
        schemes=SCHEMES[channel],
        sends=sends,
        health=health,
    )


@st.composite
def views(draw: st.DrawFn) -> View:
    where = draw(st.sets(st.tuples(channels, names)))
    healths = st.sampled_from(("healthy", "paused", "of a later version"))
    known = tuple(dict.fromkeys(draw(st.lists(reaches, max_size=6))))
    return View(
        reaches=known,
        accounts={(c, n): notice(c, sends=draw(st.booleans()), health=draw(healths)) for c, n in sorted(where)},
        at=AT,
        asserted=tuple(draw(st.lists(st.sampled_from(ADDRESSES), max_size=2, unique=True))),
        last=draw(st.none() | reaches),
        windows=draw(st.dictionaries(reaches, st.sampled_from((AT - HOUR, AT, AT + HOUR)), max_size=4)),
        revoked=frozenset(draw(st.sets(st.tuples(channels, st.sampled_from(ADDRESSES)), max_size=4))),
    )


wishes = st.builds(Wish, st.none() | channels, st.none() | names, st.none() | st.sampled_from(ADDRESSES))
fallbacks = st.lists(channels, max_size=3, unique=True).map(tuple)


@given(views())
def test_no_open_way_is_one_that_must_not_be_taken(view: View) -> None:
    for way in ways(view):
        account = view.accounts.get((way.channel, way.account))
        ends = view.windows.get(Reach(address=way.address, channel=way.channel, account=way.account))
        may = (
            account is not None
            and account.sends
            and account.health != "paused"
            and (way.channel, way.address) not in view.revoked
            and (ends is None or ends > view.at)
        )
        assert way.is_open == may
        assert bool(way.why) == (not way.is_open)


@given(views())
def test_every_way_is_there_once_and_what_was_asserted_comes_last(view: View) -> None:
    found = candidates(view)
    assert len(set(found)) == len(found)
    assert set(found[: len(view.reaches)]) == set(view.reaches)
    for reach in found[len(view.reaches) :]:
        assert reach.address in view.asserted
        assert reach.address.partition(":")[0] in view.accounts[reach.channel, reach.account].schemes


@given(views())
def test_where_the_customer_last_wrote_comes_first_then_the_latest(view: View) -> None:
    found = candidates(view)[: len(view.reaches)]
    rest = [reach for reach in reversed(view.reaches) if reach != view.last]
    assert list(found) == ([view.last] if view.last in view.reaches else []) + rest


@given(views(), wishes, fallbacks)
def test_what_is_chosen_is_open_and_as_the_command_wishes_or_on_a_fallback_channel(
    view: View, wish: Wish, fallback: tuple[str, ...]
) -> None:
    every = ways(view)
    way = first(every, wish, fallback)
    if way is None:
        assert not any(other.is_open and (wish.fits(other) or other.channel in fallback) for other in every)
        assert explain(every, wish)
        return
    assert way.is_open
    assert wish.fits(way) or way.channel in fallback
    best = next((other for other in every if wish.fits(other)), None)
    if best is not None and best.is_open:
        assert way == best


@given(views(), fallbacks, st.frozensets(channels))
def test_the_way_to_fall_back_to_is_on_the_first_open_channel_that_was_not_tried(
    view: View, fallback: tuple[str, ...], tried: frozenset[str]
) -> None:
    every = ways(view)
    way = following(every, fallback, tried)
    open_channels = [c for c in fallback if c not in tried and any(w.is_open and w.channel == c for w in every)]
    assert (way.channel if way else None) == next(iter(open_channels), None)


def test_a_template_may_go_where_the_reply_window_has_ended() -> None:
    reach = Reach(address=ADDRESSES[0], channel="chat", account="a")
    view = View(reaches=(reach,), accounts={("chat", "a"): notice("chat")}, at=AT, windows={reach: AT - HOUR})
    assert [way.code for way in ways(view)] == ["window_closed"]
    assert [way.code for way in ways(view, lambda channel: channel == "chat")] == [""]


def test_an_asserted_address_is_reached_from_an_account_that_the_contact_knows_before_others() -> None:
    known = Reach(address=ADDRESSES[0], channel="sms", account="b")
    accounts = {("sms", "a"): notice("sms"), ("sms", "b"): notice("sms"), ("email", "a"): notice("email")}
    found = ways(View(reaches=(known,), accounts=accounts, at=AT, asserted=(ADDRESSES[1],)))
    assert [way[:3] for way in found] == [
        ("sms", "b", ADDRESSES[0]),
        ("sms", "b", ADDRESSES[1]),
        ("sms", "a", ADDRESSES[1]),
    ]


def test_what_is_closed_is_explained_for_people() -> None:
    every = [Way("sms", "a", ADDRESSES[0], "opted_out", "the address opted out"), Way("chat", "b", ADDRESSES[0])]
    assert explain(every, Wish("sms")) == "no channel is open; sms a: the address opted out"
    assert explain(every, Wish("fax")) == "nothing here reaches them by fax; name another channel, or give an address"


def said(state: str, purpose: str = "all", channel: str = "sms") -> ConsentChanged:
    return ConsentChanged(address=ADDRESSES[0], channel=channel, purpose=purpose, state=state, method="keyword")


def test_consent_is_what_was_said_last_by_channel() -> None:
    record = ConsentRecord().after(said("revoked"), 5).after(said("revoked", channel="chat"), 6)
    assert record.revoked == {"sms", "chat"}
    assert record.after(said("granted"), 4) == record, "an older event changes nothing"
    assert record.after(said("granted"), 7).revoked == {"chat"}


def test_who_wants_no_marketing_still_gets_answers() -> None:
    assert ConsentRecord().after(said("revoked", "marketing"), 1).revoked == frozenset()
    record = ConsentRecord().after(said("revoked"), 1).after(said("granted", "service"), 2)
    assert record.revoked == frozenset()
    assert record.after(said("revoked"), 3).revoked == {"sms"}
