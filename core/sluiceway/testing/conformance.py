"""What every gateway must keep to, whoever wrote it; run it in your own tests: `check_gateway(MyGateway)`."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec

from sluiceway_contracts import addresses, subjects

from ..errors import Ambiguous, Malformed, Rejected, SendError, SluicewayError, Throttled, Unverified
from ..gateway import Account, Caller, Dial, Fault, Gateway, Outcome, Secret, Settings, Webhook
from ..wire import FORM, JSON, Request, Response
from .play import play

HOSTILE_BODIES = (b"", b"{}", b"[]", b"null", b"a=b", b"\xff\xfe", b"%FF=%FF", b"{" * 5000, b"[" * 5000, b"9" * 5000)


def check_gateway(gateway: type[Gateway[Any, Any]], settings: Settings | None = None) -> None:
    """Raise `AssertionError`, which says what is wrong, where a gateway does not keep to the gateway API.

    Give `settings` where those that text in each required field makes are none.
    """
    missing = ", ".join(sorted(getattr(gateway, "__abstractmethods__", ())))
    assert not missing, f"{gateway.__name__} lacks {missing}"
    subjects.name(gateway.channel)
    for scheme in gateway.schemes:
        assert scheme in addresses.SCHEMES or scheme.startswith("x-"), f"the scheme {scheme} is none of the contract's"
    assert issubclass(gateway.settings_type, Settings), "the settings derive from Settings"
    assert issubclass(gateway.account_type, Account), "the account type derives from Account"
    for struct in (gateway.settings_type, gateway.account_type):
        assert struct.__struct_config__.forbid_unknown_fields, f"{struct.__name__} accepts keys that it does not know"
    settings = settings or _settings(gateway)
    _check_errors(gateway(settings))
    if issubclass(gateway, Webhook):
        _check_webhook(gateway(settings, "https://hooks.example/hooks/x"))
    if issubclass(gateway, Caller):
        _check_caller(gateway(settings, "https://hooks.example/hooks/x"))


def _check_errors(made: Gateway[Any, Any]) -> None:
    for code, fault in made.errors.items():
        assert isinstance(code, str), f"the error code {code!r} is not text"
        assert isinstance(fault, Fault), f"the error {code} has no Fault"
        assert fault.text, f"the error {code} has no words"
        refusal = made.refusal(code)
        assert isinstance(refusal, SendError)
        assert isinstance(refusal, Throttled) == (fault.outcome is Outcome.RETRY)
    assert isinstance(made.refusal("no such code"), Rejected), "an unknown code must be final"


def _check_webhook(made: Any) -> None:
    for body in HOSTILE_BODIES:
        for content_type in (FORM, JSON, "text/plain", ""):
            headers = {"content-type": content_type}
            request = Request(method="POST", url="https://hooks.example/hooks/x", headers=headers, body=body)
            made.answer_headers(request)  # also of what is refused: it must not raise
            try:
                made.verify(request)
            except (Unverified, Malformed):
                continue
            raise AssertionError(f"an unsigned delivery passes: {body[:20]!r} as {content_type or 'nothing'}")


def _check_caller(made: Any) -> None:
    """A call that may have been placed must never be placed again."""
    account = made.account_type(connection="x", tenant="x", address="tel:+447700900123")
    order = Dial(
        account=account,
        call_id="019c22f1-d578-7625-af24-35aeedc2728d",
        attempt=1,
        leg="agent",
        address="tel:+447700900456",
        ring_ms=25_000,
        since=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    )
    for answer in (Response(status=500), Response(status=502), Response(status=200, body=b"?")):
        try:
            play(made.dial(order), answer)
        except Ambiguous:
            continue
        except SendError as error:
            raise AssertionError(f"HTTP status {answer.status}: nobody knows whether it was placed") from error
        raise AssertionError(f"HTTP status {answer.status}, and it says the call was placed")
    assert not next(made.dial(order)).repeatable, "core would place the call again"


def _settings(gateway: type[Gateway[Any, Any]]) -> Settings:
    """Settings with every required field filled in: a Secret, or text."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(gateway.settings_type):
        if field.required:
            values[field.name] = Secret("conformance") if field.type is Secret else "conformance"
    try:
        return gateway.settings_type(**values)
    except (TypeError, ValueError, SluicewayError) as error:
        raise AssertionError(f"{gateway.settings_type.__name__} can't be made of text: {error}") from error
