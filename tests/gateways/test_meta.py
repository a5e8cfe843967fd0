"""What Meta's channels share: who may deliver, the hook's validation, how a delivery is walked and a refusal read."""

import datetime
import textwrap
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway import (
    Ambiguous,
    CredentialsRefused,
    Malformed,
    OptedOut,
    Rejected,
    Request,
    Response,
    Secret,
    Throttled,
    Unverified,
    WindowClosed,
)
from sluiceway import config as configuration
from sluiceway.testing import deliver
from sluiceway_gateways import _meta
from sluiceway_gateways._meta import App
from sluiceway_gateways.whatsapp.cloud import Number, WhatsAppCloud

from .whatsapp import APP, GATEWAY, HOOK, NUMBER, SECRET, TOKEN, VERIFY, post, sample, signature

BODY = sample("text")


def validation(**changes: str | None) -> Request:
    query = {"hub.mode": "subscribe", "hub.verify_token": VERIFY, "hub.challenge": "1158201444"}
    fields = {name: value for name, value in (query | {f"hub.{k}": v for k, v in changes.items()}).items() if value}
    return Request(method="GET", url=f"{HOOK}?{urlencode(fields)}")


class TestSignature:
    def test_what_meta_signed_passes(self) -> None:
        GATEWAY.verify(post(BODY))

    def test_our_own_signature_is_the_standard_librarys(self) -> None:
        assert _meta.sign(Secret(SECRET), BODY) == signature(BODY)

    @pytest.mark.parametrize(
        "header",
        [
            "",
            signature(BODY, "another secret"),
            signature(BODY)[:-1],
            signature(BODY).removeprefix("sha256="),
            signature(BODY).upper(),
            signature(BODY) + "0",
            signature(BODY).replace("sha256", "sha1"),
            f"{signature(BODY)}, {signature(BODY)}",
            "sha256=",
            "sha256=\udcff",
        ],
        ids=["none", "foreign key", "cut", "bare", "upper", "longer", "sha1", "twice", "empty", "no text"],
    )
    def test_any_other_is_refused(self, header: str) -> None:
        with pytest.raises(Unverified) as refused:
            GATEWAY.verify(post(BODY, header))
        assert signature(BODY)[-40:] not in str(refused.value)

    def test_a_body_that_was_encoded_anew_is_refused(self) -> None:
        again = msgspec.json.encode(msgspec.json.decode(BODY))
        with pytest.raises(Unverified):
            GATEWAY.verify(post(again, signature(BODY)))

    @pytest.mark.parametrize("method", ["PUT", "HEAD", "get"])
    def test_no_other_method_gets_around_it(self, method: str) -> None:
        with pytest.raises(Unverified):
            GATEWAY.verify(Request(method=method, url=validation().url))

    @given(st.binary(max_size=200), st.text(max_size=80))
    def test_nothing_forged_passes(self, body: bytes, header: str) -> None:
        with pytest.raises(Unverified):
            GATEWAY.verify(post(body, header or "-"))


class TestValidation:
    def test_the_challenge_is_echoed_as_text(self) -> None:
        intake = deliver(GATEWAY, validation())
        assert (intake.facts, intake.discarded) == ((), False)
        assert intake.reply == Response(headers={"content-type": "text/plain; charset=utf-8"}, body=b"1158201444")

    @pytest.mark.parametrize(
        "changes", [{"mode": "unsubscribe"}, {"mode": None}, {"verify_token": "guess"}, {"verify_token": None}]
    )
    def test_whoever_does_not_know_our_word_is_refused(self, changes: dict[str, str | None]) -> None:
        with pytest.raises(Unverified):
            GATEWAY.verify(validation(**changes))

    @pytest.mark.parametrize("word", ["<script>alert(1)</script>", "a b", "x" * 201, "ümlaut", None])
    def test_what_is_no_plain_word_is_not_echoed(self, word: str | None) -> None:
        with pytest.raises(Malformed) as refused:
            GATEWAY.verify(validation(challenge=word))
        assert refused.value.status == 400


class TestSettings:
    @pytest.mark.parametrize("name", ["app_secret", "verify_token", "access_token"])
    def test_an_empty_secret_does_not_start(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"{name} is empty"):
            msgspec.structs.replace(APP, **{name: Secret("")})

    def test_a_request_proves_that_the_token_is_the_apps(self) -> None:
        request = _meta.post(APP, "1/messages", b"{}")
        proof = signature(TOKEN.encode()).removeprefix("sha256=")
        assert request.url == f"https://graph.facebook.com/v23.0/1/messages?appsecret_proof={proof}"
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert not request.repeatable

    def test_the_proof_can_be_left_out_and_url_and_version_set(self) -> None:
        app = msgspec.structs.replace(APP, appsecret_proof=False, api_url="http://127.0.0.1:9/", api_version="v24.0")
        assert _meta.post(app, "1/messages", b"{}").url == "http://127.0.0.1:9/v24.0/1/messages"

    def test_no_secret_is_shown(self) -> None:
        assert not any(secret in repr(APP) for secret in (SECRET, VERIFY, TOKEN))
        assert TOKEN not in repr(_meta.post(APP, "1/messages", b"{}"))


class TestWalk:
    @pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b'{"object": "page", "entry": []}', b"[" * 5000])
    def test_what_has_no_entries_can_not_be_read(self, body: bytes) -> None:
        with pytest.raises(Malformed):
            deliver(GATEWAY, post(body))

    def test_what_belongs_to_nobody_is_about_the_only_number_if_there_is_one(self) -> None:
        assert _meta.sole(GATEWAY) == ""
        assert _meta.sole(WhatsAppCloud(APP, HOOK, (NUMBER,))) == NUMBER.phone_number_id

    @pytest.mark.parametrize(
        ("given", "year"), [("1767225600", 2026), (1767225600, 2026), ("253370764799", 9998), ("0", 1970)]
    )
    def test_times_are_read_from_text_and_number(self, given: str | int, year: int) -> None:
        read = _meta.moment(given)
        assert read is not None
        assert (read.year, read.tzinfo) == (year, datetime.UTC)

    @pytest.mark.parametrize("given", ["yesterday", "-1", "1.5", "253370764800", "253402300799", "9" * 30, -1, "١"])
    def test_what_is_no_time_is_refused(self, given: str | int) -> None:
        with pytest.raises(Malformed):
            _meta.moment(given)

    @pytest.mark.parametrize("given", [None, ""])
    def test_no_time_is_none(self, given: str | None) -> None:
        assert _meta.moment(given) is None


def refused(status: int, error: Any) -> Exception:
    body = {"error": error} if isinstance(error, dict) else error
    return _meta.refusal(GATEWAY, Response.of_json(body, status))


class TestRefusal:
    @pytest.mark.parametrize(
        ("status", "error", "expected", "code"),
        [
            (400, {"code": 131047}, WindowClosed, "131047"),
            (400, {"code": 131050}, OptedOut, "131050"),
            (401, {"code": 190, "error_subcode": 463}, CredentialsRefused, "190"),
            (403, {"code": 299}, CredentialsRefused, "299"),
            (401, {"code": 0}, CredentialsRefused, "0"),
            (400, {"code": 131026}, Rejected, "131026"),
            (400, {"code": 100, "message": "what"}, Rejected, "100"),
            (400, {"code": 424242, "message": "new"}, Rejected, "424242"),
            (400, {"message": "nameless"}, Rejected, "400"),
            (401, "no JSON of Meta's", CredentialsRefused, "401"),
        ],
    )
    def test_what_is_final(self, status: int, error: Any, expected: type[Rejected], code: str) -> None:
        found = refused(status, error)
        assert type(found) is expected
        assert isinstance(found, Rejected)
        assert found.provider_code == code

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, {"code": 131056}),
            (400, {"code": 130429}),
            (400, {"code": 80007}),
            (503, {"code": 2}),
            (500, {"code": 131000}),
            (400, {"code": 424242, "is_transient": True, "message": "soon"}),
            (400, {"is_transient": True}),
        ],
    )
    def test_what_may_be_tried_again(self, status: int, error: Any) -> None:
        assert type(refused(status, error)) is Throttled

    @pytest.mark.parametrize(("status", "error"), [(500, {"code": 1}), (502, "x"), (500, {"code": 424242}), (302, {})])
    def test_what_leaves_open_whether_it_was_sent(self, status: int, error: Any) -> None:
        assert type(refused(status, error)) is Ambiguous

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            ({"code": 1, "error_data": {"details": "so"}, "message": "m"}, "so"),
            ({"code": 1, "error_data": "so", "message": "m"}, "so"),
            ({"code": 1, "error_data": {"x": 1}, "message": "m"}, "m"),
            ({"code": 1, "title": "t"}, "t"),
            ({"code": 1}, "the provider gave no reason"),
        ],
    )
    def test_it_says_what_meta_says(self, error: dict[str, Any], text: str) -> None:
        assert str(refused(400, error)) == text


def test_the_example_of_the_documentation_is_a_configuration(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/channels/whatsapp.md").read_text(encoding="utf-8")
    table = text[text.index("       [connections.meta]") : text.index("7. In the app")]
    file = tmp_path / "sluiceway.toml"
    file.write_text(textwrap.dedent(table))
    secrets = dict.fromkeys(("META_APP_SECRET", "META_VERIFY_TOKEN", "META_TOKEN"), "x")
    config = configuration.load(str(file), secrets)
    account = config.accounts(config.connections())["uk-whatsapp"]
    assert isinstance(account, Number)
    assert WhatsAppCloud(APP).identity(account) == "100000000000001"


def test_an_app_has_a_version_like_metas() -> None:
    given = {"app_secret": "a", "verify_token": "b", "access_token": "c", "api_version": "latest"}
    with pytest.raises(msgspec.ValidationError, match="api_version"):
        msgspec.convert(given, App, dec_hook=lambda kind, value: kind(value))
