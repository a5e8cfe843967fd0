"""A mailbox on a server that answers as it should not, or as few do. What a real one does is in tests/mail."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sluiceway import CredentialsRefused, Secret, Unavailable
from sluiceway_gateways.email._imap import (
    TRIES,
    WINDOW,
    Cursor,
    Fetched,
    ImapMailbox,
    Mailbox,
    Unfetched,
    Unmarked,
)

from ..mail.servers import Certificates, certificates
from .imap_script import CLOSE, GREETING, OPEN, SILENCE, THREE, ImapScript, Says, imap_script

PATIENCE_S = 20
FETCH = r"UID FETCH (?P<uid>\d+) "
LIST = r"UID FETCH \d+:\S+ \(UID RFC822.SIZE\)"
HALF = "* 1 FETCH (UID {uid} BODY[] {{50}}\r\nhalf"


def settings(script: ImapScript, **fields: Any) -> ImapMailbox:
    if "access_token" not in fields:
        fields.setdefault("password", Secret("open sesame"))
    fields = {"security": "none", "port": script.port, "timeout_s": PATIENCE_S, **fields}
    return ImapMailbox(host="localhost", user="desk@customer.example", **fields)


@asynccontextmanager
async def connected(
    folder: Path, answers: Mapping[str, Says] | None = None, *, greeting: str = GREETING, **fields: Any
) -> AsyncIterator[tuple[Mailbox, ImapScript]]:
    async with imap_script(answers, greeting=greeting) as script, asyncio.timeout(PATIENCE_S):
        mailbox = Mailbox(folder)
        await mailbox.connect(settings(script, **fields))
        try:
            yield mailbox, script
        finally:
            await mailbox.close()


async def read(mailbox: Mailbox, cursor: Cursor | None = None) -> list[Fetched | Unfetched]:
    return [mail async for mail in mailbox.new_mails(cursor)]


async def read_on(mailbox: Mailbox, script: ImapScript, rounds: int) -> tuple[list[tuple[int, bool]], int]:
    """UIDs, and whether they were fetched; and how often we had to connect again."""
    found: list[tuple[int, bool]] = []
    cursor, refusals = None, 0
    for _ in range(rounds):
        try:
            async for mail in mailbox.new_mails(cursor):
                found.append((mail.uid, isinstance(mail, Fetched)))
                cursor = mail.cursor
        except Unavailable:
            refusals += 1
            await mailbox.connect(settings(script))
    return found, refusals


async def refused(
    answers: Mapping[str, Says] | None = None,
    *,
    greeting: str = GREETING,
    tls: ssl.SSLContext | None = None,
    **fields: Any,
) -> Exception:
    """What connecting to such a server raises."""
    async with imap_script(answers, greeting=greeting, tls=tls) as script, asyncio.timeout(PATIENCE_S):
        with pytest.raises((Unavailable, CredentialsRefused)) as caught:
            await Mailbox(Path()).connect(settings(script, **fields))
        return caught.value


def content(mail: Fetched | Unfetched) -> bytes:
    assert isinstance(mail, Fetched)
    return mail.path.read_bytes()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "either password or access_token"),
        ({"password": Secret("a"), "access_token": Secret("b")}, "either password or access_token"),
        ({"password": Secret("a\r\nb")}, "line breaks"),
        ({"password": Secret("a"), "then": "move"}, "move_to goes with"),
        ({"password": Secret("a"), "move_to": "Done"}, "move_to goes with"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ImapMailbox(host="imap.customer.example", user="desk@customer.example", **fields)


async def test_a_mail_is_read_in_order_flagged_and_named_by_its_uid(tmp_path: Path) -> None:
    shuffled = "* 2 FETCH (UID 2 RFC822.SIZE 20)\r\n* 1 FETCH (RFC822.SIZE 20 UID 1)\r\n* 1 FETCH (FLAGS (\\Seen))\r\n"
    async with connected(tmp_path, {LIST: shuffled + "{tag} OK Listed\r\n"}) as (mailbox, script):
        mails = await read(mailbox)
        await mailbox.done(1)
    assert [(mail.cursor, content(mail)) for mail in mails] == [(Cursor(7, 1), b"1!"), (Cursor(7, 2), b"2!")]
    assert script.said[-2:] == ["UID STORE 1 +FLAGS.SILENT (\\Seen)", "LOGOUT"]


async def test_the_last_mail_that_a_star_means_is_not_read_again(tmp_path: Path) -> None:
    last = "* 3 FETCH (UID 3 RFC822.SIZE 20)\r\n{tag} OK Listed\r\n"
    async with connected(tmp_path, {LIST: last}) as (mailbox, script):
        assert mailbox.end == Cursor(7, 3)
        assert await read(mailbox, mailbox.end) == []
        assert [mail.uid for mail in await read(mailbox, Cursor(6, 3))] == [3]
    assert "UID FETCH 4:* (UID RFC822.SIZE)" in script.said


async def test_a_mailbox_with_wide_gaps_is_listed_in_few_steps(tmp_path: Path) -> None:
    select = OPEN.replace("UIDNEXT 4", "UIDNEXT 100000000")
    async with connected(tmp_path, {"SELECT": select, LIST: "{tag} OK Nothing\r\n"}) as (mailbox, script):
        assert await read(mailbox) == []
    lists = [said for said in script.said if "RFC822" in said]
    assert lists[0] == f"UID FETCH 1:{WINDOW} (UID RFC822.SIZE)"
    assert lists[-1].partition(":")[2].startswith("*")
    assert len(lists) < 15


async def test_a_mailbox_that_is_full_is_listed_bit_by_bit(tmp_path: Path) -> None:
    select = OPEN.replace("UIDNEXT 4", "UIDNEXT 2500")
    full = "".join(f"* {uid} FETCH (UID {uid} RFC822.SIZE 99)\r\n" for uid in range(1, 2500)) + "{tag} OK Listed\r\n"
    async with connected(tmp_path, {"SELECT": select, LIST: full}, max_bytes=50) as (mailbox, script):
        mails = await read(mailbox)
    assert len([said for said in script.said if "RFC822" in said]) == 3
    assert [mail.uid for mail in mails] == list(range(1, 2500))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('* 1 FETCH (BODY[] "1!" UID {uid})\r\n{tag} OK\r\n', b"1!"),
        ("* 1 FETCH (UID {uid} BODY[] {{0}}\r\n)\r\n{tag} OK\r\n", b""),
        ("* 1 FETCH (UID {uid} X {{1}}\r\nx BODY[] ~{{2}}\r\n1!)\r\n* LIST () {{1}}\r\n/ x\r\n{tag} OK\r\n", b"1!"),
        ("* OK {{9}}\r\n* 1 FETCH (UID {uid} BODY[] {{2+}}\r\n1!)\r\n{tag} OK\r\n", b"1!"),
    ],
)
async def test_a_mail_comes_in_any_form_that_a_string_has(tmp_path: Path, answer: str, expected: bytes) -> None:
    async with connected(tmp_path, {FETCH: answer}) as (mailbox, _):
        mails = await read(mailbox)
        assert [content(mail) for mail in mails] == [expected] * 3


NOTHING = [
    "{tag} OK Nothing\r\n",
    "* 1 FETCH (UID {uid} BODY[] NIL)\r\n{tag} OK\r\n",
    "* 1 FETCH (UID 77 BODY[] {{2}}\r\n1!)\r\n{tag} OK\r\n",
]


@pytest.mark.parametrize("answer", [*NOTHING, "{tag} NO [EXPUNGEISSUED] Gone\r\n"])
async def test_a_mail_that_is_gone_is_passed_over_and_leaves_no_file(tmp_path: Path, answer: str) -> None:
    async with connected(tmp_path, {FETCH: answer, LIST: [THREE, "{tag} OK Nothing\r\n"]}) as (mailbox, _):
        assert await read(mailbox) == []
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


async def test_a_mail_that_comes_in_many_pieces_is_whole(tmp_path: Path) -> None:
    large = "* 1 FETCH (UID {uid} BODY[] {{200000}}\r\n" + "x" * 200_000 + ")\r\n{tag} OK\r\n"
    async with connected(tmp_path, {FETCH: large}) as (mailbox, _):
        mails = await read(mailbox)
    assert [content(mail) for mail in mails] == [b"x" * 200_000] * 3


async def test_a_mailbox_that_is_only_looked_at_is_opened_so(tmp_path: Path) -> None:
    no_next = OPEN.replace("UIDNEXT 4", "UNSEEN 1")
    async with connected(tmp_path, {"EXAMINE": no_next}, then="nothing") as (mailbox, script):
        assert len(await read(mailbox)) == 3
        await mailbox.done(1)
        with pytest.raises(Unavailable, match="gives no UIDNEXT"):
            assert mailbox.end
    assert not [said for said in script.said if "STORE" in said or "SELECT" in said]


async def test_a_wait_without_news_is_over_after_its_time(tmp_path: Path) -> None:
    async with connected(tmp_path, idle_s=0.01) as (mailbox, script):
        await read(mailbox)
        await mailbox.wait()
        assert script.said[-2:] == ["IDLE", "DONE"]
        assert len(await read(mailbox)) == 3


async def test_a_port_where_nobody_listens_is_told(tmp_path: Path) -> None:
    async with imap_script() as script:
        gone = settings(script)
    with pytest.raises(Unavailable, match="localhost can't be reached"):
        await Mailbox(tmp_path).connect(gone)


async def test_a_mail_that_is_larger_than_the_server_said_is_dropped_while_it_comes(tmp_path: Path) -> None:
    large = "* 1 FETCH (UID {uid} BODY[] {{200000}}\r\n" + "x" * 200_000 + ")\r\n{tag} OK\r\n"
    async with connected(tmp_path, {FETCH: large}, max_bytes=100_000) as (mailbox, _):
        mails = await read(mailbox)
    assert mails == [Unfetched(Cursor(7, uid), 200_000, "larger than 100000 bytes") for uid in (1, 2, 3)]
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


@pytest.mark.parametrize(
    "answer",
    [
        HALF + CLOSE,
        "* 1 FETCH (UID {uid} BODY[] {{1}}\r\nx BODY[] {{1}}\r\nx)\r\n{tag} OK\r\n",
        "* 1 FETCH (UID {uid} BODY[TEXT] {{70000}}\r\n",
        "* 1 FETCH (UID {uid} BODY[] {{5}}\r\n1" + CLOSE,
        "* 1 FETCH ((\r\n{tag} OK\r\n",
        "S99999 OK Fetched\r\n",
        "* BYE Shutting down\r\n" + CLOSE,
        "x" * 200_000,
        "{tag} BAD What?\r\n",
        "{tag} NO [SERVERBUG] Internal error\r\n",
        *NOTHING,
    ],
)
async def test_a_mail_that_spoils_everything_is_given_up_when_the_next_can_be_had(tmp_path: Path, answer: str) -> None:
    async with connected(tmp_path, {FETCH.replace(r"\d+", "2"): answer}) as (mailbox, script):
        found, refusals = await read_on(mailbox, script, TRIES + 3)
    assert found == [(1, True), (2, False), (3, True)]
    assert refusals in (TRIES, TRIES + 1)
    assert await asyncio.to_thread(lambda: sorted(file.name for file in tmp_path.iterdir())) == ["7-1.eml", "7-3.eml"]


@pytest.mark.parametrize("answer", NOTHING)
async def test_a_mail_that_is_still_listed_is_told_and_not_passed_over(tmp_path: Path, answer: str) -> None:
    async with connected(tmp_path, {FETCH.replace(r"\d+", "1"): answer}) as (mailbox, script):
        for _ in range(TRIES):
            with pytest.raises(Unavailable, match="lists mail 1 and gives nothing of it"):
                await read(mailbox)
            await mailbox.connect(settings(script))
        first, *others = await read(mailbox)
    assert first == Unfetched(Cursor(7, 1), 20, "the server lists mail 1 and gives nothing of it")
    assert [content(mail) for mail in others] == [b"2!", b"3!"]


async def test_a_server_that_gives_nothing_of_any_mail_is_out_of_order_and_costs_none(tmp_path: Path) -> None:
    good = "* 1 FETCH (UID {uid} BODY[] {{2}}\r\n{uid}!)\r\n{tag} OK\r\n"
    async with connected(tmp_path, {FETCH: [NOTHING[1]] * (3 * TRIES + 5) + [good]}) as (mailbox, script):
        found, _ = await read_on(mailbox, script, 60)
    assert found == [(1, True), (2, True), (3, True)]


async def test_a_mail_that_can_be_had_at_the_last_try_is_had(tmp_path: Path) -> None:
    second = FETCH.replace(r"\d+", "2")
    good = "* 1 FETCH (UID 2 BODY[] {{2}}\r\n2!)\r\n{tag} OK\r\n"
    async with connected(tmp_path, {second: ["{tag} NO No\r\n"] * TRIES + [good]}) as (mailbox, script):
        assert await read_on(mailbox, script, TRIES + 1) == ([(1, True), (2, True), (3, True)], TRIES)


async def test_a_mail_that_is_deleted_before_the_last_try_is_gone(tmp_path: Path) -> None:
    second, lists = FETCH.replace(r"\d+", "2"), [*[THREE] * (TRIES + 1), "{tag} OK Nothing\r\n"]
    answers: dict[str, Says] = {second: ["{tag} NO No\r\n"] * TRIES + ["{tag} OK\r\n"], LIST: lists}
    async with connected(tmp_path, answers) as (mailbox, script):
        assert await read_on(mailbox, script, TRIES + 1) == ([(1, True), (3, True)], TRIES)


async def test_an_outage_of_the_servers_store_costs_no_mail(tmp_path: Path) -> None:
    good = "* 1 FETCH (UID {uid} BODY[] {{2}}\r\n{uid}!)\r\n{tag} OK\r\n"
    refuses = ["{tag} NO [UNAVAILABLE] Storage is away\r\n"] * (3 * TRIES + 5)
    async with connected(tmp_path, {FETCH: [*refuses, good]}) as (mailbox, script):
        found, _ = await read_on(mailbox, script, 60)
    assert found == [(1, True), (2, True), (3, True)]


async def test_what_is_too_large_is_told_after_what_is_in_doubt_before_it(tmp_path: Path) -> None:
    listed = THREE.replace("UID 3 RFC822.SIZE 20", "UID 3 RFC822.SIZE 999999999")
    second = FETCH.replace(r"\d+", "2")
    async with connected(tmp_path, {LIST: listed, second: "{tag} NO No\r\n"}) as (mailbox, script):
        found, _ = await read_on(mailbox, script, TRIES + 4)
    assert found == [(1, True)]


async def test_a_server_that_wants_us_to_be_slower_costs_no_mail_a_try(tmp_path: Path) -> None:
    good = "* 1 FETCH (UID {uid} BODY[] {{2}}\r\n{uid}!)\r\n{tag} OK\r\n"
    slower = ["{tag} BAD Request is throttled. Suggested Backoff Time: 9 milliseconds\r\n"] * 20
    async with connected(tmp_path, {FETCH: [*slower, good]}) as (mailbox, script):
        assert await read_on(mailbox, script, 21) == ([(1, True), (2, True), (3, True)], 20)


async def test_a_full_disk_is_told_and_counts_against_no_mail(tmp_path: Path) -> None:
    folder = tmp_path / "full"
    async with connected(folder) as (mailbox, script):
        for _ in range(TRIES + 2):
            with pytest.raises(Unavailable, match="can't be written"):
                await read(mailbox)
            await mailbox.connect(settings(script))
        folder.mkdir()
        assert [content(mail) for mail in await read(mailbox)] == [b"1!", b"2!", b"3!"]


async def test_a_disk_that_is_full_at_the_last_byte_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "7-1.eml").symlink_to("/dev/full")
    async with connected(tmp_path) as (mailbox, _):
        with pytest.raises(Unavailable, match="No space left"):
            await read(mailbox)


async def test_who_is_interrupted_leaves_no_half_connection(tmp_path: Path) -> None:
    async with connected(tmp_path, {FETCH: HALF}) as (mailbox, script):
        reading = asyncio.create_task(read(mailbox))
        await asyncio.sleep(0.1)
        assert script.said[-1] == "UID FETCH 1 (UID BODY.PEEK[])"
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        with pytest.raises(Unavailable, match="a command was interrupted"):
            await read(mailbox)


async def test_a_server_that_says_no_more_is_given_up(tmp_path: Path) -> None:
    async with connected(tmp_path, {"NOOP": SILENCE}, timeout_s=0.1) as (mailbox, _):
        with pytest.raises(Unavailable, match="it does not answer"):
            await read(mailbox)


async def test_a_list_that_is_refused_is_an_outage(tmp_path: Path) -> None:
    async with connected(tmp_path, {LIST: "{tag} NO No\r\n"}) as (mailbox, _):
        with pytest.raises(Unavailable, match="does not list"):
            await read(mailbox)


async def test_a_mailbox_that_was_never_connected_is_unavailable(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    await mailbox.close()
    with pytest.raises(Unavailable, match="no connection"):
        await mailbox.wait()


CAPABLE = {"AUTHENTICATE": "{tag} OK [CAPABILITY IMAP4rev1] In\r\n"}


@pytest.mark.parametrize(
    ("capabilities", "said"),
    [
        ("MOVE UIDPLUS", ['UID MOVE 1 "Done"']),
        ("UIDPLUS", ['UID COPY 1 "Done"', "UID STORE 1 +FLAGS.SILENT (\\Seen \\Deleted)", "UID EXPUNGE 1"]),
        ("", ['UID COPY 1 "Done"', "UID STORE 1 +FLAGS.SILENT (\\Seen \\Deleted)"]),
    ],
)
async def test_a_mail_is_moved_as_the_server_can(tmp_path: Path, capabilities: str, said: list[str]) -> None:
    answers = {"AUTHENTICATE": f"{{tag}} OK [CAPABILITY IMAP4rev1 {capabilities}] In\r\n"}
    async with connected(tmp_path, answers, then="move", move_to="Done") as (mailbox, script):
        await mailbox.done(1)
    assert script.said[2:-1] == said


async def test_a_folder_that_can_not_be_made_and_a_mail_that_can_not_be_moved_are_told(tmp_path: Path) -> None:
    answers: dict[str, Says] = {"UID MOVE": ["{tag} NO [TRYCREATE] Where?\r\n", "{tag} OK\r\n", "{tag} NO Quota\r\n"]}
    async with connected(tmp_path, answers, then="move", move_to="Done") as (mailbox, script):
        await mailbox.done(1)
        assert 'CREATE "Done"' in script.said
        with pytest.raises(Unmarked, match="Quota"):
            await mailbox.done(2)
        assert len(await read(mailbox)) == 3


async def test_a_server_without_idle_is_asked_now_and_then(tmp_path: Path) -> None:
    answers: dict[str, Says] = {**CAPABLE, "NOOP": ["{tag} OK\r\n", "* 4 EXISTS\r\n{tag} OK\r\n", "{tag} OK\r\n"]}
    async with connected(tmp_path, answers, poll_s=0.001) as (mailbox, script):
        await read(mailbox)
        await mailbox.wait()
        await mailbox.wait()
        assert script.said.count("NOOP") == 2
        assert "IDLE" not in script.said


async def test_a_server_that_offers_idle_and_refuses_it_is_asked_now_and_then(tmp_path: Path) -> None:
    answers = {"IDLE": "* 3 RECENT\r\n{tag} BAD Not today\r\n"}
    async with connected(tmp_path, answers, poll_s=0.001) as (mailbox, script):
        await read(mailbox)
        for _ in range(3):
            await mailbox.wait()
        assert script.said.count("IDLE") == 1
        assert script.said.count("NOOP") == 3


@pytest.mark.parametrize(
    "idle",
    [
        "* 3 RECENT\r\n+ idling\r\n* OK Still here\r\n* 4 EXISTS\r\n",
        "+ idling\r\n* OK Still here\r\n{tag} OK That is enough\r\n",
    ],
)
async def test_idling_ends_with_news_or_when_the_server_ends_it(tmp_path: Path, idle: str) -> None:
    done = "* 3 EXPUNGE\r\n{idle} OK Idled\r\n"
    async with connected(tmp_path, {"IDLE": idle, "DONE": done}) as (mailbox, script):
        await read(mailbox)
        await mailbox.wait()
        assert len(await read(mailbox)) == 3
    assert ("DONE" in script.said) == ("EXISTS" in idle)


async def test_idling_ends_when_the_connection_does(tmp_path: Path) -> None:
    async with connected(tmp_path, {"IDLE": "+ idling\r\n* BYE Good night\r\n" + CLOSE}) as (mailbox, _):
        await read(mailbox)
        with pytest.raises(Unavailable, match="it says goodbye: Good night"):
            await mailbox.wait()


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"CAPABILITY": "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n{tag} OK\r\n"}, "AUTHENTICATE PLAIN"),
        ({"CAPABILITY": "* CAPABILITY IMAP4rev1\r\n{tag} OK\r\n"}, 'LOGIN "desk@customer.example" "open sesame"'),
    ],
)
async def test_a_password_goes_as_the_server_takes_it(tmp_path: Path, answers: dict[str, Says], said: str) -> None:
    continued: dict[str, Says] = {"AUTHENTICATE": "+ \r\n", "AGRlc2": "S2 OK In\r\n", "LOGIN": "{tag} OK In\r\n"}
    async with connected(tmp_path, {**answers, **continued}, greeting="* OK Ready\r\n") as (_, script):
        assert script.said[:2] == ["CAPABILITY", said]
        assert script.said[-2:] == ["CAPABILITY", 'SELECT "INBOX"']


async def test_a_refused_token_is_answered_with_nothing_before_it_is_refused() -> None:
    answers: dict[str, Says] = {"AUTHENTICATE XOAUTH2": "+ eyJzdGF0dXMiOiI0MDEifQ==\r\n", "$": "S1 NO Invalid\r\n"}
    error = await refused(answers, access_token=Secret("expired"))
    assert isinstance(error, CredentialsRefused)
    assert (str(error), error.provider_code) == ("localhost refuses the login: Invalid", None)


@pytest.mark.parametrize(
    ("answers", "greeting", "kind", "why"),
    [
        ({"SELECT": CLOSE}, GREETING, Unavailable, "it ended the connection"),
        ({"AUTHENTICATE": "{tag} NO [AUTHENTICATIONFAILED] No\r\n"}, GREETING, CredentialsRefused, "refuses the login"),
        ({"AUTHENTICATE": "{tag} NO [UNAVAILABLE] Later\r\n"}, GREETING, Unavailable, "lets nobody in now"),
        ({}, "* OK [CAPABILITY IMAP4rev1 LOGINDISABLED]\r\n", CredentialsRefused, "takes no password here"),
        ({}, "* PREAUTH Come in\r\n", Unavailable, "does not speak IMAP: it does not let us log in"),
        ({}, "* BYE Overloaded\r\n", Unavailable, "it says goodbye: Overloaded"),
        ({}, "220 smtp.customer.example ESMTP\r\n", Unavailable, "does not speak IMAP"),
        ({"CAPABILITY": "{tag} BAD What?\r\n"}, "* OK Ready\r\n", Unavailable, "refuses CAPABILITY: What?"),
        ({"SELECT": "{tag} NO [NONEXISTENT] Where?\r\n"}, GREETING, Unavailable, "does not open the mailbox"),
        ({"SELECT": "* 3 EXISTS\r\n{tag} OK Open\r\n"}, GREETING, Unavailable, "gives no UIDVALIDITY"),
    ],
)
async def test_a_server_that_lets_us_not_in_says_why(
    answers: dict[str, Says], greeting: str, kind: type[Exception], why: str
) -> None:
    error = await refused(answers, greeting=greeting)
    assert isinstance(error, kind)
    assert why in str(error)


async def test_a_certificate_file_that_is_not_there_is_told() -> None:
    assert "No such file" in str(await refused(security="tls", ca_file="/nowhere/ca.pem"))


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return certificates(tmp_path_factory.mktemp("imap-tls"))


@pytest.fixture(scope="session")
def context(tls: Certificates) -> ssl.SSLContext:
    """A server's."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


async def test_a_certificate_that_nobody_we_trust_signed_is_told(tls: Certificates, context: ssl.SSLContext) -> None:
    error = await refused(tls=context, security="starttls", ca_file=str(tls.other_ca))
    assert "its certificate is not trusted" in str(error)


async def test_what_was_said_before_tls_is_not_believed(
    tmp_path: Path, tls: Certificates, context: ssl.SSLContext
) -> None:
    capabilities = "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n{tag} OK\r\n"
    greeting = "* OK [CAPABILITY IMAP4rev1 LOGINDISABLED STARTTLS] Ready\r\n"
    answers: dict[str, Says] = {"CAPABILITY": capabilities, "AUTHENTICATE": "+ \r\n", "AGRlc2": "S3 OK In\r\n"}
    async with imap_script(answers, greeting=greeting, tls=context) as script, asyncio.timeout(PATIENCE_S):
        mailbox = Mailbox(tmp_path)
        await mailbox.connect(settings(script, security="starttls", ca_file=str(tls.ca)))
        assert script.said[:3] == ["STARTTLS", "CAPABILITY", "AUTHENTICATE PLAIN"]
        assert len(await read(mailbox)) == 3
        await mailbox.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("{tag} OK Begin\r\n* OK [CAPABILITY AUTH=PLAIN] Injected\r\n", "it speaks before TLS is there"),
        ("{tag} BAD What?\r\n", "refuses STARTTLS"),
    ],
)
async def test_no_password_is_told_where_tls_was_tampered_with(answer: str, why: str) -> None:
    assert why in str(await refused({"STARTTLS": answer}, security="starttls"))
