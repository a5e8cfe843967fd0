"""Who may deliver to voice.twilio, and that nothing that is delivered breaks it."""

from urllib.parse import parse_qsl, quote, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # it has no py.typed

from sluiceway import CallStep, Malformed, Received, Request, Unverified
from sluiceway.testing import deliver
from sluiceway.wire import FORM
from sluiceway_contracts import addresses, is_uuid
from sluiceway_gateways._twilio import sign
from sluiceway_gateways.voice._scenes import SCENES

from .twilio_voice import CALL_ID, GATEWAY, HOOK, LOGIN, SAMPLES, TOKEN, VIEW, Core, address, sample, signed

FIELDS = sample("agent-pressed-1")
GOOD = signed(address("accept", leg="agent"), FIELDS)
OTHER = "019c22f1-d578-7625-af24-35aeedc27280"


def passes(request: Request) -> bool:
    try:
        GATEWAY.verify(request)
    except Unverified:
        return False
    return True


FORGED = {
    "no signature": replace(GOOD, headers={"content-type": FORM}),
    "an empty signature": replace(GOOD, headers={**GOOD.headers, "x-twilio-signature": ""}),
    "the signature of a foreign key": replace(
        GOOD,
        headers={**GOOD.headers, "x-twilio-signature": RequestValidator("54321").compute_signature(GOOD.url, FIELDS)},
    ),
    "another call": replace(GOOD, url=GOOD.url.replace("728d", "728e")),
    "another attempt": replace(GOOD, url=GOOD.url.replace("attempt=2", "attempt=3")),
    "another leg": replace(GOOD, url=GOOD.url.replace("leg=agent", "leg=customer")),
    "another step": replace(GOOD, url=GOOD.url.replace("/accept", "/agent-accept")),
    "a flag more": replace(GOOD, url=GOOD.url + "&rec=1"),
    "a parameter less": replace(GOOD, url=GOOD.url.rpartition("&")[0]),
    "no query": replace(GOOD, url=GOOD.url.partition("?")[0]),
    "a query that is encoded anew": replace(GOOD, url=GOOD.url.replace("-", quote("-", safe="").replace("-", "%2D"))),
    "another key pressed": replace(GOOD, body=urlencode(FIELDS | {"Digits": "2"}).encode()),
    "a field more": replace(GOOD, body=urlencode(FIELDS | {"StirVerstat": "TN-Validation-Passed-A"}).encode()),
    "a field less": replace(GOOD, body=urlencode({k: v for k, v in FIELDS.items() if k != "From"}).encode()),
}


def test_the_genuine_request_passes() -> None:
    assert passes(GOOD)


@pytest.mark.parametrize("request_", FORGED.values(), ids=FORGED.keys())
def test_a_forged_request_is_refused(request_: Request) -> None:
    assert request_ != GOOD
    assert not passes(request_)


def test_a_body_that_is_encoded_otherwise_says_the_same() -> None:
    assert passes(replace(GOOD, body=GOOD.body.replace(b"%2B", b"%2b")))


words = st.sampled_from(
    ["", "1", "completed", "in-progress", "anonymous", "+447700900123", "RE1", "https://x/RE1", "9" * 30, "٣"]
)
names = st.sampled_from(
    [
        *("CallSid", "From", "To", "CallStatus", "Digits", "DialCallStatus", "DialCallSid", "DialCallDuration"),
        *("DialBridged", "RecordingSid", "RecordingUrl", "RecordingDuration", "RecordingStatus", "CallDuration"),
        *("StirVerstat", "CallerName", "ErrorCode", "SipResponseCode"),
    ]
)
anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
queries = st.dictionaries(
    st.sampled_from(["call", "attempt", "leg", "n", "ring", "rec", "person", "try", "key", "attested", "x"]),
    st.sampled_from(["", "1", "2", "agent", "customer", "99999999", "-1", "٣", OTHER]) | anything,
    max_size=6,
)


@settings(deadline=None, max_examples=300)
@given(
    name=st.sampled_from([*SCENES, "nowhere", "menu/", "../menu"]),
    form=st.sampled_from(sorted(path.stem for path in SAMPLES.glob("*.form"))),
    change=st.dictionaries(names, words | anything, max_size=5),
    drop=st.sets(names, max_size=3),
    query=queries,
    is_ours=st.booleans(),
)
@example(name="choice", form="caller", change={"Digits": "٣"}, drop=set(), query={}, is_ours=True)
@example(name="menu", form="caller", change={"DialCallDuration": "٣"}, drop=set(), query={}, is_ours=True)
def test_nothing_that_is_delivered_raises_anything_but_malformed(
    name: str, form: str, change: dict[str, str], drop: set[str], query: dict[str, str], is_ours: bool
) -> None:
    fields = {key: value for key, value in (sample(form) | change).items() if key not in drop}
    given_ = (dict(parse_qsl(address(name).partition("?")[2])) if is_ours else {}) | query
    core = Core()
    core.views = {CALL_ID: VIEW}
    try:
        core.answer(signed(f"{HOOK}/{name}".rstrip("/") + (f"?{urlencode(given_)}" if given_ else ""), fields))
    except Malformed:
        return
    for fact in core.facts:
        assert fact.at
        assert fact.key
        assert not isinstance(fact, CallStep) or is_uuid(fact.call_id)
        assert not isinstance(fact, Received) or addresses.normalise(fact.sender) == fact.sender


@settings(deadline=None)
@given(query=queries, fields=st.dictionaries(names, words | anything, max_size=5))
def test_the_simulators_signature_is_the_official_one(query: dict[str, str], fields: dict[str, str]) -> None:
    url = f"{HOOK}/menu?{urlencode(query)}"
    assert sign(LOGIN.token, url, tuple(fields.items())) == RequestValidator(TOKEN).compute_signature(url, fields)


@pytest.mark.parametrize("field", ["CallSid", "To"])
def test_a_missing_field_is_named(field: str) -> None:
    fields = {name: value for name, value in sample("called").items() if name != field}
    with pytest.raises(Malformed, match=f"the field {field} is missing"):
        deliver(GATEWAY, signed(HOOK, fields))
