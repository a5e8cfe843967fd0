"""Signatures computed by hand are those of Twilio's own library, and nothing else is let in."""

import base64
import hashlib
import hmac
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import MultiDict
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # it has no py.typed

from sluiceway import Malformed, Request, Secret, Unverified
from sluiceway.wire import FORM
from sluiceway_gateways._twilio import sign, verify

TOKEN = "12345"
SDK = RequestValidator(TOKEN)
URL = "https://gw.example/t/in"
PAIRS = [("Body", "Hello & welcome! é 1+1=2 "), ("From", "+447700900456"), ("FromCity", ""), ("MessageSid", "SM1")]

anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
few = st.sampled_from(["", "a", "A", "b", "Body", "é"])
forms = st.lists(st.tuples(few | anything, few | anything), max_size=8)
ports = st.sampled_from(["", ":80", ":443", ":8080", ":8443"])
queries = st.sampled_from(["", "?", "?tenant=7", "?x=%2B1&x=é", "?bodySHA256=abc", "?b=2&a=1"])
urls = st.builds(
    lambda scheme, port, path, query: f"{scheme}://Gw.example{port}{path}{query}",
    st.sampled_from(["https", "http", "HTTPS"]),
    ports,
    st.sampled_from(["", "/", "/hooks/twilio", "/hooks/twilio/", "/hooks/a;b", "/é"]),
    queries,
)


def post(url: str, pairs: list[tuple[str, str]], signature: str | None) -> Request:
    headers = {"content-type": FORM} | ({} if signature is None else {"x-twilio-signature": signature})
    return Request(method="POST", url=url, headers=headers, body=urlencode(pairs).encode())


def passes(request: Request) -> bool:
    try:
        verify(request, Secret(TOKEN))
    except Unverified:
        return False
    return True


@settings(deadline=None)
@given(url=urls, pairs=forms)
@example(url=URL, pairs=[("a", "2"), ("a", "1"), ("a", "2")])
@example(url=URL, pairs=[])
def test_the_signature_is_the_official_one(url: str, pairs: list[tuple[str, str]]) -> None:
    assert sign(Secret(TOKEN), url, tuple(pairs)) == SDK.compute_signature(url, MultiDict(pairs))


@settings(deadline=None)
@given(url=urls, other=urls, pairs=forms)
@example(url="https://gw.example:8443/", other="https://gw.example/", pairs=[])
@example(url="https://gw.example/", other="https://gw.example:443/", pairs=[])
@example(url="http://gw.example/", other="http://gw.example:80/", pairs=[])
@example(url="https://gw.example:443/", other="https://gw.example:80/", pairs=[])
def test_what_the_official_library_accepts_is_accepted_and_nothing_else(
    url: str, other: str, pairs: list[tuple[str, str]]
) -> None:
    for signature in (SDK.compute_signature(url, MultiDict(pairs)), SDK.compute_signature(other, MultiDict(pairs))):
        assert passes(post(url, pairs, signature)) == SDK.validate(url, MultiDict(pairs), signature)


@settings(deadline=None)
@given(body=anything, claimed=st.sampled_from(["right", "wrong", "upper"]), port=ports)
def test_json_is_verified_by_its_hash_as_the_official_library_does(body: str, claimed: str, port: str) -> None:
    digest = hashlib.sha256(body.encode()).hexdigest()
    digests = {"right": digest, "wrong": "00", "upper": digest.upper()}
    url = f"https://gw.example{port}/json?bodySHA256={digests[claimed]}"
    signature = SDK.compute_signature(url, {})
    headers = {"content-type": "application/json", "x-twilio-signature": signature}
    request = Request(method="POST", url=url, headers=headers, body=body.encode())
    assert passes(request) == SDK.validate(url, body, signature)


def test_twilios_documented_example_passes() -> None:
    url = "https://example.com/myapp.php?foo=1&bar=2"
    fields = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675310",
        "Digits": "1234",
        "From": "+14158675310",
        "To": "+18005551212",
    }
    assert passes(post(url, list(fields.items()), "L/OH5YylLD5NRKLltdqwSvS0BnU="))


GOOD = SDK.compute_signature(URL, dict(PAIRS))
FOREIGN = RequestValidator("54321").compute_signature(URL, dict(PAIRS))
SHA256 = SDK.compute_signature(URL, dict(PAIRS), "HMAC_SHA256")

FORGED = {
    "no signature": post(URL, PAIRS, None),
    "an empty signature": post(URL, PAIRS, ""),
    "a truncated signature": post(URL, PAIRS, GOOD[:-1]),
    "a signature with something after it": post(URL, PAIRS, GOOD + "="),
    "a repeated signature": post(URL, PAIRS, f"{GOOD}, {GOOD}"),
    "the signature of a foreign key": post(URL, PAIRS, FOREIGN),
    "another algorithm": post(URL, PAIRS, SHA256),
    "the signature in hexadecimal": post(URL, PAIRS, base64.b64decode(GOOD).hex()),
    "the signature in URL-safe base64": post(URL, PAIRS, GOOD.replace("+", "-").replace("/", "_").rstrip("=")),
    "a signature that is no ASCII": post(URL, PAIRS, "\udcff" + GOOD[1:]),
    "a changed value": post(URL, [*PAIRS[:-1], ("MessageSid", "SM2")], GOOD),
    "a trimmed value": post(URL, [("Body", PAIRS[0][1].strip()), *PAIRS[1:]], GOOD),
    "a field less": post(URL, PAIRS[1:], GOOD),
    "a field more": post(URL, [*PAIRS, ("OptOutType", "STOP")], GOOD),
    "a field twice, with another value": post(URL, [*PAIRS, ("From", "+447700900789")], GOOD),
    "an empty field more": post(URL, [*PAIRS, ("ToZip", "")], GOOD),
    "doubly encoded values": post(URL, [(name, quote(value)) for name, value in PAIRS], GOOD),
    "another path": post(URL + "/status", PAIRS, GOOD),
    "a trailing slash": post(URL + "/", PAIRS, GOOD),
    "another host": post("https://gw2.example/t/in", PAIRS, GOOD),
    "another scheme": post("http://gw.example/t/in", PAIRS, GOOD),
    "a query": post(URL + "?a=1", PAIRS, GOOD),
    "a fragment": post(URL + "#rc=5", PAIRS, GOOD),
}


def test_the_genuine_request_passes() -> None:
    assert passes(post(URL, PAIRS, GOOD))


@pytest.mark.parametrize("request_", FORGED.values(), ids=FORGED.keys())
def test_a_forged_request_is_refused_and_no_digest_told(request_: Request) -> None:
    with pytest.raises(Unverified) as caught:
        verify(request_, Secret(TOKEN))
    told = f"{caught.value} {caught.value.__context__} {caught.value.__cause__}"
    expected = SDK.compute_signature(request_.url, MultiDict(request_.form.pairs))
    for digest in (GOOD, FOREIGN, expected, TOKEN, request_.headers.get("x-twilio-signature") or GOOD):
        assert digest not in told


def test_the_body_of_a_signed_url_can_not_be_exchanged() -> None:
    body = b'{"a":1}'
    url = f"{URL}?bodySHA256={hashlib.sha256(body).hexdigest()}"
    headers = {"content-type": "application/json", "x-twilio-signature": SDK.compute_signature(url, {})}
    verify(Request(method="POST", url=url, headers=headers, body=body), Secret(TOKEN))
    with pytest.raises(Unverified, match="bodySHA256 does not match"):
        verify(Request(method="POST", url=url, headers=headers, body=b'{"a":2}'), Secret(TOKEN))


def test_a_right_body_hash_does_not_replace_the_signature() -> None:
    url = f"{URL}?bodySHA256={hashlib.sha256(b'{}').hexdigest()}"
    for headers in ({}, {"x-twilio-signature": base64.b64encode(hmac.digest(b"", url.encode(), "sha1")).decode()}):
        with pytest.raises(Unverified):
            verify(Request(method="POST", url=url, headers=headers, body=b"{}"), Secret(TOKEN))


@pytest.mark.parametrize("url", [URL, URL + "?bodySHA256="])
def test_a_body_that_nothing_vouches_for_is_malformed(url: str) -> None:
    headers = {"content-type": "application/json", "x-twilio-signature": SDK.compute_signature(url, {})}
    with pytest.raises(Malformed) as caught:
        verify(Request(method="POST", url=url, headers=headers, body=b"{}"), Secret(TOKEN))
    assert caught.value.status == 415


@pytest.mark.parametrize("url", ["https://gw.example:99999/", "https://[gw.example/"])
def test_a_url_that_can_not_be_read_is_malformed(url: str) -> None:
    with pytest.raises(Malformed):
        verify(post(url, PAIRS, GOOD), Secret(TOKEN))
