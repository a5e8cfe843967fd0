"""The configuration: what it comes to, and for each mistake one line with file, key and remedy, never a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from sluiceway import ConfigError, Secret, Settings, accounts, config
from sluiceway.accounts import Accounts
from sluiceway.config import Config, Core
from sluiceway.identity import Identity
from sluiceway_gateways.sms.twilio import TwilioSms

CANARY = "canary-0123456789abcdef"
SID = "AC" + "0" * 32
FILE = f"""
[nats]
url = "nats://127.0.0.1:4222"
[connections.uk]
gateway = "sms.twilio"
sid = "{SID}"
token = "env:TOKEN"
[accounts.a]
connection = "uk"
tenant = "acme"
address = "tel:+447700900123"
"""
ENVIRONMENT = {"TOKEN": CANARY, "EMPTY": "", "PATH": "/bin"}


def load(folder: Path, text: str = FILE, environment: Mapping[str, str] = ENVIRONMENT) -> tuple[Config, Accounts]:
    file = folder / "sluiceway.toml"
    file.write_text(text)
    loaded = config.load(str(file), environment)
    return loaded, accounts.of(loaded)


def refused(folder: Path, text: str = FILE, environment: Mapping[str, str] = ENVIRONMENT) -> str:
    """The one line that a configuration is refused with."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, environment)
    line = str(caught.value)
    assert "\n" not in line
    assert CANARY not in line
    return line.replace(str(folder), "")


def test_a_configuration_without_mistakes_is_what_it_says(tmp_path: Path) -> None:
    loaded, served = load(tmp_path)
    assert loaded.core.nats.url == "nats://127.0.0.1:4222"
    assert loaded.core.http.base_url == "http://127.0.0.1:8080"
    (account,) = served
    assert (account.name, account.channel, account.tenant) == ("a", "sms", "acme")
    assert account.gateway.hook_url == "http://127.0.0.1:8080/hooks/uk"
    assert account.gateway.settings.token == Secret(CANARY)
    assert served.at("uk", "+447700900123") is account
    assert served.at("uk", "+447700900124") is None


def test_the_public_address_is_what_providers_see(tmp_path: Path) -> None:
    text = FILE + '[http]\npublic_url = "https://hooks.shop.example/"\n'
    _, served = load(tmp_path, text.replace('token = "env:TOKEN"', 'token = "env:TOKEN"\nhook = "texts"'))
    assert served.gateways["uk"].hook_url == "https://hooks.shop.example/hooks/texts"


def test_a_secret_may_lie_in_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{CANARY}\n")
    _, served = load(tmp_path, FILE.replace("env:TOKEN", "file:token"))
    assert served.gateways["uk"].settings.token == Secret(CANARY)


def test_an_address_is_brought_to_its_one_spelling(tmp_path: Path) -> None:
    _, served = load(tmp_path, FILE.replace("tel:+", "TEL:+"))
    assert [account.account.address for account in served] == ["tel:+447700900123"]


MISTAKES = {
    "an unknown key": (("url =", "ulr ="), r"nats\.ulr: is no known key; did you mean url\?"),
    "an unknown key like no other": (("url =", "zzz ="), r"nats\.zzz: is no known key; known: url, credentials, .*"),
    "an unknown section": (("[nats]", "[nat]"), r"nat: is no known key; did you mean nats\?"),
    "a key in no section": (("\n[nats]", "level = 1\n[nats]"), r"level: is no known key; .*"),
    "text for a table": (("[nats]\nurl", "nats"), r"nats: Expected `object`, got `str`"),
    "a number for text": (('"nats://127.0.0.1:4222"', "4222"), r"nats\.url: Expected `str \| null`, got `int`"),
    "text for a number": (('url = "nats://127.0.0.1:4222"', 'port = "x"'), r"nats\.port: Expected `int`, got `str`"),
    "a spool of less than nothing": (("[nats]", "[spool]\nmax_bytes = -1\n[nats]"), r"spool\.max_bytes: .* >= 0"),
    "no connection at all": (("[nats]", "[http]\nmax_connections = 0\n[nats]"), r"http\.max_connections: .* >= 1"),
    "a word that is none": (('url = "nats://127.0.0.1:4222"', 'streams = "make"'), r"nats\.streams: .*'make'"),
    "a login in the address": (
        ("nats://", f"nats://me:{CANARY}@"),
        r"nats\.url: has a login in it; give nats\.user .*",
    ),
    "a prefix that is none": (("[nats]", '[nats]\nprefix = "a.>"'), r"nats\.prefix: '>' is no subject token: .*"),
    "names that are none": (("[nats]", '[nats]\nnames = "a.b"'), r"nats\.names: 'a\.b' is no subject token: .*"),
    "connections that are no tables": (("[connections.uk]", "[[connections]]"), r"connections: must be tables: .*"),
    "accounts that are no tables": (("[accounts.a]", "[[accounts]]"), r"accounts: must be tables: .*"),
    "a connection that is no table": (("[nats]", "connections.x = 1\n[nats]"), r"connections\.x: must be a table: .*"),
    "no gateway": (('gateway = "sms.twilio"', ""), r"connections\.uk\.gateway: name one of: .*sms\.twilio.*"),
    "a gateway that is no text": (('"sms.twilio"', "7"), r"connections\.uk\.gateway: name one of: .*sms\.twilio.*"),
    "an unknown gateway": (
        ("sms.twilio", "sms.twillio"),
        r"connections\.uk\.gateway: no gateway named sms\.twillio is installed; did you mean sms\.twilio\?",
    ),
    "a hook that is no text": (
        ("[accounts.a]", "hook = 7\n[accounts.a]"),
        r"connections\.uk\.hook: must be a name, .*",
    ),
    "a hook that is no token": (
        ("[accounts.a]", 'hook = "a/b"\n[accounts.a]'),
        r"connections\.uk\.hook: 'a/b' is no subject token: .*",
    ),
    "a missing setting": ((f'sid = "{SID}"', ""), r"connections\.uk\.sid: is missing; add it"),
    "a setting of the wrong form": ((SID, "AC7"), r"connections\.uk\.sid: Expected `str` matching regex .*"),
    "an unknown setting": (("sid =", "sdi ="), r"connections\.uk\.sdi: is no known key; did you mean sid\?"),
    "a gateway's own refusal": (
        ("[accounts.a]", f'api_key_sid = "SK{"0" * 32}"\n[accounts.a]'),
        r"connections\.uk: api_key_sid and api_key_secret go together: .*",
    ),
    "a secret written plainly": (("env:TOKEN", CANARY), r"connections\.uk\.token: is a secret: write env:NAME or .*"),
    "a secret that is a number": (('"env:TOKEN"', "7"), r"connections\.uk\.token: is a secret: write env:NAME or .*"),
    "a secret that is not set": (
        ("env:TOKEN", "env:TOKEM"),
        r"connections\.uk\.token: the environment variable TOKEM is not set; set it, or use file:PATH",
    ),
    "a secret that is empty": (("env:TOKEN", "env:EMPTY"), r"connections\.uk\.token: .* EMPTY is not set; .*"),
    "a secret's file that is not there": (
        ("env:TOKEN", "file:nowhere"),
        r"connections\.uk\.token: the file /nowhere can't be read: FileNotFoundError; create it, or use env:NAME",
    ),
    "a secret's file that is empty": (("env:TOKEN", "file:empty"), r"connections\.uk\.token: the file /empty is empty"),
    "a secret's file that is no text": (("env:TOKEN", "file:binary"), r".*: the file /binary can't be read: Unicode.*"),
    "a secret's file that is a folder": (("env:TOKEN", "file:."), r".* can't be read: IsADirectoryError; .*"),
    "no connection": (('connection = "uk"', ""), r"accounts\.a\.connection: name one of your connections: uk"),
    "an unknown connection": (('connection = "uk"', 'connection = "de"'), r"accounts\.a\.connection: name one .*: uk"),
    "no tenant": (('tenant = "acme"', ""), r"accounts\.a\.tenant: is missing; add it"),
    "a tenant that is no token": (('"acme"', '"ac.me"'), r"accounts\.a\.tenant: 'ac\.me' is no subject token: .*"),
    "a reserved tenant": (('"acme"', '"_"'), r"accounts\.a\.tenant: '_' is reserved and can't be a name"),
    "a reserved account": (("accounts.a]", "accounts.any]"), r"accounts\.any: 'any' is reserved and can't be a name"),
    "a reserved connection": (("connections.uk]", "connections.any]"), r"connections\.any: 'any' is reserved .*"),
    "an account's name that is none": (("accounts.a]", 'accounts."a b"]'), r"accounts\.a b: 'a b' is no subject .*"),
    "no address": (('address = "tel:+447700900123"', ""), r"accounts\.a\.address: is missing; add it"),
    "a national number": (("tel:+44", "tel:0"), r"accounts\.a\.address: not an address: .*; write tel:\+ and .*"),
    "an address without a scheme": (("tel:+44", "+44"), r"accounts\.a\.address: not an address: .*; it starts with .*"),
    "an account's unknown key": (
        ("tenant =", "tennant ="),
        r"accounts\.a\.tennant: is no known key; did you .*tenant\?",
    ),
    "two accounts with one identity": (
        ("[accounts.a]", '[accounts.b]\nconnection = "uk"\ntenant = "b"\naddress = "tel:+447700900123"\n[accounts.a]'),
        r"accounts\.a\.address: is the account b's too; remove one of them",
    ),
    "no TOML": (("[nats]", "[nats"), r"is not TOML: .*"),
    "one key twice": (("[nats]", '[nats]\nurl = "x"'), r"is not TOML: .*"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_file_key_and_remedy(tmp_path: Path, mistake: str) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (was, instead), expected = MISTAKES[mistake]
    assert was in FILE
    assert re.fullmatch(f"/sluiceway.toml: {expected}", refused(tmp_path, FILE.replace(was, instead, 1)))


def test_a_file_that_is_not_there_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: no such file; name one with --config"):
        config.load(str(tmp_path / "none.toml"), {})


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't be read: Is a directory"):
        config.load(str(tmp_path), {})


def test_a_file_that_is_no_text_is_no_toml(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"x\.toml: is not TOML"):
        config.load(str(tmp_path / "x.toml"), {})


def test_the_variable_names_the_file_where_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("[log]\nlevel = 'debug'\n")
    assert config.load(None, {"SLUICEWAY_CONFIG": str(tmp_path / "x.toml")}).core.log.level == "debug"


def test_the_file_here_is_read_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config.load(None, {}, optional=True).core == Core()
    with pytest.raises(ConfigError, match=r"sluiceway\.toml: no such file"):
        config.load(None, {})
    (tmp_path / "sluiceway.toml").write_text("[log]\nlevel = 'debug'\n")
    assert config.load(None, {}, optional=True).core.log.level == "debug"


def test_a_variable_takes_the_place_of_a_key(tmp_path: Path) -> None:
    changes = {
        "SLUICEWAY_NATS__URL": "nats://nats:4222",
        "SLUICEWAY_NATS__REPLICAS": "3",
        "SLUICEWAY_NATS__TOKEN": "env:TOKEN",
        "SLUICEWAY_NATS__NAMES": "7",
        "SLUICEWAY_LOG__LEVEL": "error",
        "SLUICEWAY_HOME": "/srv",
    }
    loaded, _ = load(tmp_path, environment=ENVIRONMENT | changes)
    nats = loaded.core.nats
    assert (nats.url, nats.replicas, nats.names, nats.token) == ("nats://nats:4222", 3, "7", Secret(CANARY))
    assert loaded.core.log.level == "error"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("SLUICEWAY_NATS__ULR", "x", r"SLUICEWAY_NATS__ULR: no such setting; write SLUICEWAY_<SECTION>__<KEY>, as .*"),
        ("SLUICEWAY_NAT__URL", "x", r"SLUICEWAY_NAT__URL: no such setting; .*"),
        ("SLUICEWAY___URL", "x", r"SLUICEWAY___URL: no such setting; .*"),
        ("SLUICEWAY_CONNECTIONS__UK", "x", r"SLUICEWAY_CONNECTIONS__UK: no such setting; .*"),
        ("SLUICEWAY_NATS__PORT", "many", r"/sluiceway\.toml: nats\.port: Expected `int`, got `str`"),
        ("SLUICEWAY_NATS__PORT", "-1.5", r"/sluiceway\.toml: nats\.port: Expected `int`, got `str`"),
        ("SLUICEWAY_NATS__PASSWORD", CANARY, r"/sluiceway\.toml: nats\.password: is a secret: write env:NAME or .*"),
    ],
)
def test_a_variable_that_cannot_be_used_is_refused(tmp_path: Path, variable: str, value: str, expected: str) -> None:
    assert re.fullmatch(expected, refused(tmp_path, environment=ENVIRONMENT | {variable: value}))


def test_a_variable_for_a_section_that_is_no_table_leaves_the_mistake_to_be_told(tmp_path: Path) -> None:
    text = FILE.replace("[nats]\nurl", "nats")
    told = refused(tmp_path, text, ENVIRONMENT | {"SLUICEWAY_NATS__URL": "nats://x"})
    assert told == "/sluiceway.toml: nats: Expected `object`, got `str`"


def test_only_the_channels_asked_for_are_served(tmp_path: Path) -> None:
    loaded, _ = load(tmp_path)
    assert [served.name for served in accounts.of(loaded, ["sms"])] == ["a"]
    with pytest.raises(ConfigError, match=r"no installed gateway is of the channel fax; there are .*email, .*sms, "):
        accounts.of(loaded, ["sms", "fax"])


def test_a_channel_without_a_connection_is_served_when_it_has_one(tmp_path: Path) -> None:
    """As a pod may start before its first account is there."""
    loaded, _ = load(tmp_path)
    assert not list(accounts.of(loaded, ["whatsapp"]))


def test_somebody_elses_gateway_need_not_be_installed_where_its_channel_is_not_served(tmp_path: Path) -> None:
    other = FILE + '[connections.birds]\ngateway = "raven.post"\n'
    other += '[accounts.north]\nconnection = "birds"\ntenant = "acme"\naddress = "x-raven:north"\n'
    file = tmp_path / "sluiceway.toml"
    file.write_text(other)
    loaded = config.load(str(file), ENVIRONMENT)
    assert [served.name for served in accounts.of(loaded, ["sms"])] == ["a"]
    for channels in ((), ("raven",)):
        with pytest.raises(ConfigError, match=r"no gateway named raven\.post is installed"):
            accounts.of(loaded, channels)


def test_an_account_of_a_connection_that_is_left_out_says_so(tmp_path: Path) -> None:
    loaded, _ = load(tmp_path)
    with pytest.raises(ConfigError, match=r"accounts\.a\.connection: the connection uk can't be used"):
        loaded.account("a", {})


MAIL = """
[connections.mail]
gateway = "email.imap"
host = "imap.shop.example"
user = "desk"
password = "file:missing"
[accounts.post]
connection = "mail"
tenant = "acme"
address = "mailto:desk@shop.example"
"""


def test_a_process_of_some_channels_needs_no_others_secrets(tmp_path: Path) -> None:
    (tmp_path / "accounts.d").mkdir()
    (tmp_path / "accounts.d" / "mail.toml").write_text(MAIL)
    file = tmp_path / "sluiceway.toml"
    file.write_text(FILE)
    loaded = config.load(str(file), ENVIRONMENT)
    assert [served.name for served in accounts.of(loaded, ["sms"])] == ["a"]
    with pytest.raises(ConfigError, match=r"mail\.toml: connections\.mail\.password: the file .*missing can't be read"):
        accounts.of(loaded, ["email"])
    unread = config.load(str(file), {}, secrets=())
    assert {served.name for served in accounts.of(unread)} == {"a", "post"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[http]\nmax_connections = 1\n", "http: belongs into the configuration itself"),
        ('[connections.uk]\ngateway = "sms.twilio"\n', "connections.uk: is in .*sluiceway.toml too; remove one"),
        ("[accounts]\na = 1\n", "accounts.a: is in .*sluiceway.toml too; remove one"),
        ("accounts = 1\n", r"accounts: must be tables: \[accounts.<name>\]"),
        ("[accounts.b\n", "is not TOML"),
    ],
)
def test_the_folder_of_accounts_has_nothing_else_and_nothing_twice(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "accounts.d").mkdir()
    (tmp_path / "accounts.d" / "more.toml").write_text(text)
    with pytest.raises(ConfigError, match=why) as caught:
        load(tmp_path)
    assert "more.toml" in str(caught.value)


def test_the_folder_of_accounts_may_be_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.toml").write_text(
        '[accounts.b]\nconnection = "uk"\ntenant = "acme"\naddress = "tel:+447700900124"\n'
    )
    environment = {**ENVIRONMENT, "SLUICEWAY_RELOAD__FOLDER": str(tmp_path / "elsewhere")}
    _, served = load(tmp_path, environment=environment)
    assert {one.name for one in served} == {"a", "b"}


def test_a_setting_of_a_type_that_no_file_can_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(Settings, frozen=True, kw_only=True):
        sid: str
        token: complex

    monkeypatch.setattr(TwilioSms, "settings_type", Odd)
    assert refused(tmp_path) == "/sluiceway.toml: connections.uk.token: can't be read as complex"


@pytest.mark.parametrize("key", ["", "short", "fifteen bytes.."])
def test_an_identity_key_that_is_too_short_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=r"identity\.key: is shorter than 16 bytes; make one: openssl rand -hex 32"):
        Identity(key.encode())


def test_the_tenant_of_a_connection_is_known_where_it_has_one(tmp_path: Path) -> None:
    two = '[accounts.b]\nconnection = "uk"\ntenant = "{}"\naddress = "tel:+447700900124"\n'
    assert load(tmp_path, FILE + two.format("acme"))[1].tenant_of("uk") == "acme"
    assert load(tmp_path, FILE + two.format("globex"))[1].tenant_of("uk") == "_"


def test_nothing_of_a_configuration_shows_a_secret(tmp_path: Path) -> None:
    secrets = "".join(f'{key} = "env:TOKEN"\n' for key in ("password", "token"))
    text = FILE.replace("[nats]\n", f"[nats]\n{secrets}") + '[identity]\nkey = "env:TOKEN"\n'
    loaded, served = load(tmp_path, text)
    connections = loaded.connections()
    things = (loaded, loaded.core, connections, loaded.accounts(connections), served, *served, served.gateways)
    assert CANARY not in "".join(f"{thing!r} {thing}" for thing in things)
    assert loaded.core.identity.key == Secret(CANARY)
