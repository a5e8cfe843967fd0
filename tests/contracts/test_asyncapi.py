"""The AsyncAPI document, by itself and as AsyncAPI's own parser reads it in Node."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from sluiceway_contracts import (
    COMMANDS,
    EVENTS,
    LIVE,
    LIVE_COMMANDS,
    Command,
    ConversationClose,
    Event,
    TypingChanged,
    TypingSet,
)
from sluiceway_contracts.asyncapi import address, asyncapi
from sluiceway_contracts.messages import Party
from sluiceway_contracts.schema import dumps

PARSER = Path(__file__).parent / "asyncapi_parser"
CONVERSATION = "019bbbc6-c3e2-792e-82e4-6aa12752135b"


def test_every_event_and_command_has_a_channel_a_message_and_an_operation() -> None:
    document = asyncapi()
    types = {type.removeprefix("sluiceway.") for type in (*EVENTS, *COMMANDS)}
    assert types == set(document["channels"])
    assert types == set(document["operations"])
    assert types == set(document["components"]["messages"])


def test_an_application_receives_events_and_sends_commands() -> None:
    operations = asyncapi()["operations"]
    assert operations["message.received"]["action"] == "receive"
    assert operations["message.send"]["action"] == "send"


def test_every_parameter_of_an_address_is_described() -> None:
    document = asyncapi()
    for channel in document["channels"].values():
        assert {f"{{{name}}}" for name in channel["parameters"]} == {
            token for token in channel["address"].split(".") if token.startswith("{")
        }
    assert all(parameter["description"] for parameter in document["components"]["parameters"].values())


def test_addresses_are_the_subjects_that_envelopes_go_to() -> None:
    typing = Event(tenant="acme", data=TypingChanged(by=Party(role="agent"), state="started"))
    close = Command(tenant="acme", subject=CONVERSATION, data=ConversationClose(conversation_id=CONVERSATION))
    assert typing.nats_subject() == address(typing.type).format(
        tenant="acme", channel="_", contact="_", conversation="_"
    )
    assert close.nats_subject() == address(close.type).format(
        tenant="acme", channel="any", account="any", conversation=CONVERSATION
    )


def test_the_address_of_a_live_command_is_the_subject_that_it_goes_to() -> None:
    command = Command(tenant="acme", subject=CONVERSATION, data=TypingSet(state="started"))
    assert command.nats_subject() == address(command.type).format(
        tenant="acme", channel="_", contact="_", conversation=CONVERSATION
    )
    assert asyncapi()["operations"]["typing.set"]["action"] == "send"


def test_only_what_is_live_is_outside_the_rooms_that_are_stored() -> None:
    outside = {type for type in EVENTS if ".events." not in address(type)}
    assert outside == LIVE
    assert {type for type in COMMANDS if ".commands." not in address(type)} == LIVE_COMMANDS


def test_no_discriminator_is_left_which_asyncapi_does_not_allow() -> None:
    assert '"discriminator"' not in dumps(asyncapi())


class TestTheParserOfAsyncApi:
    pytestmark = [
        pytest.mark.skipif(shutil.which("node") is None, reason="node is not on PATH, and the parser needs it"),
        pytest.mark.timeout(400),
    ]

    def test_finds_nothing_wrong_with_the_document(self, checker: Path, tmp_path: Path) -> None:
        verdict = parse(checker, asyncapi(), tmp_path)
        # it informs that there is an AsyncAPI newer than 3.0
        assert [problem for problem in verdict["problems"] if problem["code"] != "asyncapi-latest-version"] == []
        actions = {operation["id"]: operation["action"] for operation in verdict["operations"]}
        assert actions == {name: operation["action"] for name, operation in asyncapi()["operations"].items()}

    def test_would_have_found_something(self, checker: Path, tmp_path: Path) -> None:
        broken = asyncapi()
        broken["components"]["schemas"]["AnyPart"]["discriminator"] = {"propertyName": "type"}
        broken["operations"]["message.send"]["action"] = "publish"
        verdict = parse(checker, broken, tmp_path)
        assert {problem["severity"] for problem in verdict["problems"]} >= {"error"}


def parse(checker: Path, document: dict[str, Any], folder: Path) -> dict[str, Any]:
    file = folder / "asyncapi.json"
    file.write_text(dumps(document), encoding="utf-8")
    run = subprocess.run(
        ["node", str(checker), str(file)], cwd=checker.parent, capture_output=True, text=True, check=False, timeout=90
    )
    assert run.returncode == 0, run.stderr
    verdict: dict[str, Any] = json.loads(run.stdout)
    return verdict


@pytest.fixture(scope="session")
def checker(pytestconfig: pytest.Config) -> Path:
    """`check.mjs` beside its packages, in pytest's cache; moved there in one step, as several workers may install."""
    wanted = (PARSER / "package.json").read_text(encoding="utf-8")
    version = str(json.loads(wanted)["dependencies"]["@asyncapi/parser"])
    cache = pytestconfig.rootpath / ".pytest_cache" / "d" / "asyncapi-parser"
    cache.mkdir(parents=True, exist_ok=True)
    home = cache / version
    if not home.exists():
        fresh = Path(tempfile.mkdtemp(dir=cache))
        shutil.copy(PARSER / "package.json", fresh)
        npm = shutil.which("npm") or "npm"
        quiet = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        run = subprocess.run(
            [npm, "install", *quiet], cwd=fresh, capture_output=True, text=True, check=False, timeout=300
        )
        assert run.returncode == 0, run.stderr
        try:
            os.rename(fresh, home)
        except OSError:  # another worker was first
            shutil.rmtree(fresh)
    shutil.copy(PARSER / "check.mjs", home)
    return home / "check.mjs"
