"""What a gateway's class says of itself, its errors by the provider's table, and gateways that can't be used."""

from __future__ import annotations

import copy
import sys
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType
from typing import Any

import pytest

from sluiceway import (
    Account,
    Ambiguous,
    Caller,
    Capabilities,
    Chars,
    CredentialsRefused,
    Dial,
    Fault,
    Flow,
    Gateway,
    Intake,
    OptedOut,
    Outcome,
    Receipt,
    Rejected,
    Request,
    Response,
    Secret,
    SendError,
    Settings,
    Throttled,
    Unreachable,
    Webhook,
    WindowClosed,
    plugins,
)
from sluiceway.plugins import PluginError
from sluiceway.testing import check_gateway


class Login(Settings, frozen=True, kw_only=True):
    token: Secret


class Page(Account, frozen=True, kw_only=True):
    page: str = ""


class Doves(Gateway[Login]):
    channel = "dove"
    schemes = ("x-dove",)
    capabilities = Capabilities(text=Chars(10))
    errors = {str(number): Fault(outcome, outcome.value) for number, outcome in enumerate(Outcome)}


class Pages(Gateway[Login, Page]):
    """Accounts with settings of their own."""


class MoreDoves(Doves):
    """Derived from a gateway, not from `Gateway`."""


class Silent(Gateway[Login], Webhook):
    channel = "silent"
    schemes = ()
    capabilities = Capabilities(text=Chars(1))

    def verify(self, request: Request) -> None: ...


DOVES = Doves(Login(token=Secret("canary")), "https://x.example/hooks/doves")


@pytest.mark.parametrize(
    ("gateway", "settings", "account"),
    [(Doves, Login, Account), (Pages, Login, Page), (MoreDoves, Login, Account)],
)
def test_settings_and_accounts_are_of_the_types_that_the_class_names(
    gateway: type[Gateway[Any, Any]], settings: type, account: type
) -> None:
    assert (gateway.settings_type, gateway.account_type) == (settings, account)


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Outcome.RETRY, Throttled),
        (Outcome.REJECTED, Rejected),
        (Outcome.FAILED, Rejected),
        (Outcome.OPTED_OUT, OptedOut),
        (Outcome.WINDOW_CLOSED, WindowClosed),
        (Outcome.CREDENTIALS, CredentialsRefused),
    ],
)
def test_a_code_of_the_table_is_the_error_that_its_outcome_means(outcome: Outcome, error: type[SendError]) -> None:
    code = str(list(Outcome).index(outcome))
    refusal = DOVES.refusal(code, "the provider's words")
    assert type(refusal) is error
    assert str(refusal) == outcome.value
    if isinstance(refusal, Rejected):
        assert refusal.provider_code == code
    told = DOVES.error(code)
    assert (told.code, told.provider_code, told.retryable) == (outcome.value, code, outcome is Outcome.RETRY)


@pytest.mark.parametrize(("message", "words"), [("too feathery", "too feathery"), ("", "the provider gave no reason")])
def test_a_code_that_no_table_knows_is_final_in_the_providers_words(message: str, words: str) -> None:
    refusal = DOVES.refusal("99", message)
    assert type(refusal) is Rejected
    assert (str(refusal), refusal.provider_code) == (words, "99")
    told = DOVES.error("99", message)
    assert (told.code, told.message, told.retryable) == ("failed", words, False)


def test_an_account_is_known_by_its_address_without_the_scheme() -> None:
    assert DOVES.identity(Account(connection="c", tenant="t", address="x-dove:north:7")) == "north:7"


def test_a_gateway_knows_its_connections_accounts_by_identity() -> None:
    one, two = (Page(connection="c", tenant="t", address=f"x-dove:{name}", page=name) for name in ("north", "south"))
    assert Pages(Login(token=Secret("x")), "", (one, two)).accounts == {"north": one, "south": two}


def test_an_account_can_be_a_key_whatever_its_gateway_adds() -> None:
    class Shelf(Account, frozen=True, kw_only=True):
        books: dict[str, str] = {}

    one, two = (Shelf(connection="c", tenant="t", address="x-dove:n", books={"a": word}) for word in ("x", "y"))
    assert {one: 1, two: 2} == {two: 2, one: 1}
    assert one != two


def test_an_ability_without_its_method_does_not_start() -> None:
    with pytest.raises(TypeError, match="receive"):
        Silent(Login(token=Secret("x")))  # type: ignore[abstract]  # that is the point


def test_characters_are_code_points() -> None:
    assert Chars(1).length("ä😀") == 2


def test_a_secret_shows_itself_to_nobody_but_who_asks() -> None:
    secret = Secret("canary")
    shown = (repr(secret), str(secret), f"{secret}", f"{secret!r}", repr([secret]), repr(Login(token=secret)))
    assert "canary" not in "".join(shown)
    assert secret.reveal() == "canary"
    assert not hasattr(secret, "__dict__")


def test_secrets_are_equal_by_value() -> None:
    assert Secret("a") == copy.copy(Secret("a"))
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


def test_a_fact_is_equal_to_the_same_fact() -> None:
    assert Receipt(at="a", key="k", external_id="x", status="sent") == Receipt(
        at="a", key="k", external_id="x", status="sent"
    )


class Bare(Gateway[Login]):
    """Says nothing of itself."""


class Careless(Silent):
    """Takes any delivery for its provider's."""

    def receive(self, request: Request) -> Intake:
        return Intake()


class Ringing(Doves, Caller):
    """Places calls; `answered` says what it makes of an answer."""

    repeats = False

    def dial(self, order: Dial[Any]) -> Flow[str]:
        response = yield Request.post_form("https://dove.example/calls", [], repeatable=self.repeats)
        return self.answered(response)

    def answered(self, response: Response) -> str:
        raise Ambiguous("who knows")

    def find(self, order: Dial[Any]) -> Flow[str | None]:
        yield from ()
        return None

    def hang_up(self, account: Account, external_id: str) -> Flow[None]:
        yield from ()


class Trusting(Ringing):
    """Takes every answer for a call that was placed."""

    def answered(self, response: Response) -> str:
        return "7"


class Rash(Ringing):
    """Takes a broken provider for one that placed nothing."""

    def answered(self, response: Response) -> str:
        raise Unreachable("try again")


class Impatient(Ringing):
    """Lets core place a call again."""

    repeats = True


class Odd(Settings, frozen=True, kw_only=True):
    count: int

    def __post_init__(self) -> None:
        if isinstance(self.count, str):
            raise ValueError("count is no number")


class Loose(Settings, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Takes whatever is written."""


def changed(**attributes: object) -> type[Gateway[Any, Any]]:
    return type("Changed", (Doves,), attributes)


@pytest.mark.parametrize(
    ("gateway", "why"),
    [
        (Silent, "Silent lacks receive"),
        (Careless, "an unsigned delivery passes"),
        (Trusting, "HTTP status 500, and it says the call was placed"),
        (Rash, "HTTP status 500: nobody knows whether it was placed"),
        (Impatient, "core would place the call again"),
        (changed(channel="a.b"), "is no subject token"),
        (changed(schemes=("dove",)), "the scheme dove is none of the contract's"),
        (changed(settings_type=Account), "the settings derive from Settings"),
        (changed(settings_type=Loose), "Loose accepts keys that it does not know"),
        (changed(settings_type=Odd), "Odd can't be made of text: count is no number"),
        (changed(account_type=Login), "the account type derives from Account"),
        (changed(errors={7: Fault(Outcome.FAILED, "x")}), "the error code 7 is not text"),
        (changed(errors={"7": "x"}), "the error 7 has no Fault"),
        (changed(errors={"7": Fault(Outcome.FAILED, "")}), "the error 7 has no words"),
    ],
)
def test_a_gateway_that_does_not_keep_to_the_api_is_told_what_is_wrong(
    gateway: type[Gateway[Any, Any]], why: str
) -> None:
    with pytest.raises((AssertionError, ValueError), match=why):
        check_gateway(gateway)


@pytest.mark.parametrize("gateway", [Doves, Ringing])
def test_a_gateway_that_keeps_to_the_api_passes(gateway: type[Gateway[Any, Any]]) -> None:
    check_gateway(gateway)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entry points of gateways that can't be used, and of one that can."""
    module = ModuleType("broken_gateways")
    module.__dict__.update(Doves=Doves, Bare=Bare, Silent=Silent, number=7)
    monkeypatch.setitem(sys.modules, "broken_gateways", module)
    points = EntryPoints(
        EntryPoint(name, value, plugins.GATEWAYS)
        for name, value in {
            "dove.post": "broken_gateways:Doves",
            "a.bare": "broken_gateways:Bare",
            "a.silent": "broken_gateways:Silent",
            "a.number": "broken_gateways:number",
            "a.class": "builtins:dict",
            "no.module": "no_such_module:X",
            "no.name": "broken_gateways:X",
        }.items()
    )
    monkeypatch.setattr(plugins, "entry_points", lambda group: points.select(group=group))


@pytest.mark.usefixtures("broken")
def test_a_gateway_that_is_one_is_found() -> None:
    assert plugins.gateway("dove.post") is Doves


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("dove.pst", r"no gateway named dove\.pst is installed; did you mean dove\.post\?"),
        ("telegraph", r"no gateway named telegraph is installed; installed: a\.bare, a\.class, .*"),
        ("a.bare", "has no `channel`; its author must give Bare one"),
        ("a.silent", "the gateway a.silent lacks receive; its author must write it"),
        ("a.number", "broken_gateways:number is no Gateway"),
        ("a.class", "builtins:dict is no Gateway"),
        ("no.module", "can't be imported from no_such_module:X"),
        ("no.name", "can't be imported from broken_gateways:X"),
    ],
)
def test_a_gateway_that_cannot_be_used_is_refused_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(PluginError, match=why):
        plugins.gateway(name)


@pytest.mark.usefixtures("broken")
def test_a_simulator_that_is_not_there_is_refused() -> None:
    with pytest.raises(PluginError, match=r"no simulator named dove\.post is installed; installed: none"):
        plugins.simulator("dove.post")
