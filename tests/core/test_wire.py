"""Requests and responses as values: what is read from them, what is refused, what they never show."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway import File, Form, Malformed, Request, Response
from sluiceway.wire import FORM, MAX_FORM_FIELDS

PAIRS = st.lists(st.tuples(st.text(max_size=10), st.text(max_size=10)), max_size=10)
ENCODED = st.text(st.sampled_from("ab=&%+;0129AFcEé \t\n#?/"), max_size=40)
TYPES = st.sampled_from([int, str, float, bool, list[int], dict[str, Any], Any, None])


class Note(msgspec.Struct):
    text: str


def a_form(body: bytes, content_type: str = FORM) -> Request:
    return Request(method="POST", url="https://x.example/", headers={"content-type": content_type}, body=body)


@given(PAIRS)
def test_a_form_has_the_fields_that_were_encoded(pairs: list[tuple[str, str]]) -> None:
    assert list(a_form(urlencode(pairs).encode()).form.pairs) == pairs


@given(ENCODED)
def test_a_form_is_read_as_the_standard_library_reads_it(encoded: str) -> None:
    try:
        expected = parse_qsl(encoded, keep_blank_values=True, errors="strict") if encoded.isascii() else None
    except UnicodeDecodeError:
        expected = None
    try:
        found = list(a_form(encoded.encode()).form.pairs)
    except Malformed:
        assert expected is None
    else:
        assert found == expected


@given(PAIRS)
def test_a_query_is_read_like_a_form(pairs: list[tuple[str, str]]) -> None:
    assert list(Request.get(f"https://x.example/?{urlencode(pairs)}#part").query.pairs) == pairs


@given(st.binary(max_size=200), st.sampled_from([FORM, f"{FORM}; charset=UTF-8", FORM.upper(), "text/plain", ""]))
def test_a_hostile_form_raises_only_malformed(body: bytes, content_type: str) -> None:
    with contextlib.suppress(Malformed):
        a_form(body, content_type).form.get("x")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode), TYPES)
def test_hostile_json_raises_only_malformed(body: bytes, type: Any) -> None:
    with contextlib.suppress(Malformed):
        a_form(body).json(type)


@given(st.text(max_size=50))
def test_a_hostile_url_raises_only_malformed(url: str) -> None:
    with contextlib.suppress(Malformed):
        Request.get(url).query.get("x")


@pytest.mark.parametrize("type", [Any, dict[str, Any], list[Any], Note])
@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b'{"text":' + b"[" * 100_000])
def test_json_nested_without_end_is_malformed(body: bytes, type: Any) -> None:
    with pytest.raises(Malformed):
        a_form(body).json(type)


@pytest.mark.parametrize("type", [int, Any, Note])
def test_a_huge_integer_is_malformed(type: Any) -> None:
    with pytest.raises(Malformed):
        Response(body=b"9" * 100_000).json(type)


def test_an_address_that_is_none_is_malformed() -> None:
    with pytest.raises(Malformed, match="URL"):
        _ = Request.get("https://[x?a=1").query


def test_the_first_of_equal_names_counts_and_all_are_there() -> None:
    form = a_form(b"a=1&b=2&a=3").form
    assert form["a"] == "1"
    assert form.pairs == (("a", "1"), ("b", "2"), ("a", "3"))
    assert (len(form), list(form)) == (2, list(dict(form)))


@pytest.mark.parametrize("body", [b"", b"a=", b"b=1"])
def test_a_required_field_must_be_there_and_not_empty(body: bytes) -> None:
    with pytest.raises(Malformed, match="the field a is missing"):
        a_form(body).form.required("a")


def test_a_required_field_is_returned() -> None:
    assert Form([("a", "1")]).required("a") == "1"


@pytest.mark.parametrize(("count", "fits"), [(MAX_FORM_FIELDS, True), (MAX_FORM_FIELDS + 1, False)])
def test_a_form_has_so_many_fields_and_no_more(count: int, fits: bool) -> None:
    request = a_form(b"&".join(b"a=1" for _ in range(count)))
    if fits:
        assert len(request.form.pairs) == count
        return
    with pytest.raises(Malformed) as caught:
        _ = request.form
    assert caught.value.status == 413


@pytest.mark.parametrize("content_type", ["", "application/json", "application/x-www-form-urlencodedx"])
def test_a_form_says_that_it_is_one(content_type: str) -> None:
    with pytest.raises(Malformed) as caught:
        _ = a_form(b"a=1", content_type).form
    assert caught.value.status == 415


def test_what_a_request_shows_of_itself_is_neither_query_nor_headers_nor_body() -> None:
    request = Request.post_form("https://x.example/hook?token=canary", [("text", "canary")], basic=("me", "canary"))
    assert repr(request) == str(request) == f"{request}" == "<Request POST https://x.example/hook>"


def test_a_post_carries_its_fields_in_order_and_its_login() -> None:
    request = Request.post_form("https://x.example/", [("b", "ä ß"), ("a", "1&2")], basic=("Aladdin", "open sesame"))
    assert (request.method, request.body) == ("POST", b"b=%C3%A4+%C3%9F&a=1%262")
    assert request.headers == {"content-type": FORM, "authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}
    assert not request.repeatable


def test_a_get_may_be_made_again_and_carries_no_login_unless_given_one() -> None:
    assert Request.get("https://x.example/").headers == {}
    assert Request.get("https://x.example/").repeatable


def test_json_goes_out_and_comes_back() -> None:
    response = Response.of_json({"text": "ä"}, status=201)
    assert (response.status, response.headers["content-type"]) == (201, "application/json")
    assert response.json(Note) == Note("ä")


@given(st.binary(max_size=200), st.text(max_size=20))
def test_a_multipart_form_that_core_writes_is_read_as_it_was(data: bytes, name: str) -> None:
    kept = File(ref="r", mime="image/png", size=len(data), name=name)
    request = Request.post_multipart("https://api.example/", [("type", "image/png"), ("a", "é\r\n--")], kept)
    body = b"".join(piece if isinstance(piece, bytes) else data for piece in request.pieces)
    asked = Request(method="POST", url=request.url, headers=request.headers, body=body)
    assert dict(asked.multipart) == {"type": b"image/png", "a": "é\r\n--".encode(), "file": data}


@given(st.text(max_size=60) | st.just("multipart/form-data; boundary=x"), st.binary(max_size=100))
def test_a_hostile_multipart_form_raises_only_malformed(content_type: str, body: bytes) -> None:
    asked = Request(method="POST", url="https://api.example/", headers={"content-type": content_type}, body=body)
    try:
        assert all(isinstance(value, bytes) for value in dict(asked.multipart).values())
    except Malformed:
        return


@pytest.mark.parametrize("content_type", ["", "image/png", "multipart/form-data", "multipart/mixed; boundary=x"])
def test_without_a_boundary_it_is_no_multipart_form(content_type: str) -> None:
    with pytest.raises(Malformed):
        _ = a_form(b"", content_type).multipart


def test_a_multipart_form_is_read_as_any_form_is() -> None:
    body = b"--x\r\ncontent-disposition: form-data; name=a\r\n\r\n\xc3\xa9\r\n--x--\r\n"
    assert a_form(body, "multipart/form-data; boundary=x").form.pairs == (("a", "é"),)
    with pytest.raises(Malformed, match="not UTF-8"):
        _ = a_form(body.replace(b"\xc3", b""), "multipart/form-data; boundary=x").form


def test_a_multipart_form_has_so_many_fields_and_no_more() -> None:
    body = b"--x\r\ncontent-disposition: form-data; name=a\r\n\r\n\r\n" * (MAX_FORM_FIELDS + 1) + b"--x--\r\n"
    with pytest.raises(Malformed, match="more than"):
        _ = a_form(body, "multipart/form-data; boundary=x").multipart
