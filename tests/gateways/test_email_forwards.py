"""Who wrote what a mail passes on, as clients of each language say it; and what passes nothing on."""

from __future__ import annotations

import pytest

from sluiceway_gateways.email._mail import Mailbox
from sluiceway_gateways.email._quote_words import FORWARDED, FORWARDS
from sluiceway_gateways.email._quotes import split

from .test_email_reading import mail_of

BO = Mailbox(address="bo@shop.example", name="Bo Ek")

GMAIL = """Please see below.

--
Ada Quill

---------- Forwarded message ---------
From: *Bo Ek* <bo@Shop.example>
Date: Mon, 3 Mar 2025 at 09:00
Subject: Kettle
To: <ada@customer.example>


It leaks.

On 2 Mar 2025, Cy <cy@shop.example> wrote:
> Is it tight?

--
Bo
"""
APPLE = """Look.

Sent from my phone

Anfang der weitergeleiteten Nachricht:

> Von: Bo Ek <bo@shop.example>
> Betreff: Kessel
> Datum: 3. März 2025 um 09:00:00 MEZ
> An: ada@customer.example
>
> Er leckt.
"""
THUNDERBIRD = """
-------- Message transféré --------
Sujet : \tBouilloire
Date : \tMon, 3 Mar 2025 09:00:00 +0100
De : \tBo Ek <bo@shop.example>
Pour : \tada@customer.example

Elle fuit.
"""
ITALIAN = """-------- Messaggio Inoltrato --------
Oggetto: \tBollitore
Data: \tMon, 3 Mar 2025 09:00:00 +0100
Mittente: \tBo Ek <bo@shop.example>
A: \tada@customer.example

Perde.
"""
MUTT = """----- Forwarded message from Bo Ek <bo@shop.example> -----

Date: Mon, 3 Mar 2025 09:00:00 +0100
From: Bo Ek <bo@shop.example>
Subject: Kettle

It leaks.

----- End forwarded message -----
"""
OUTLOOK = """Bitte prüfen.

________________________________
Von: Bo Ek <bo@shop.example<mailto:bo@shop.example>>
Gesendet: Montag, 3. März 2025 09:00
An: Ada Quill
Betreff: Kessel

Er leckt.
"""
OLD_OUTLOOK = """-----Original Message-----
From: Bo Ek
 [mailto:bo@shop.example]
Sent: Monday, March 03, 2025 9:00 AM
To: Ada Quill
Subject: Kettle

It leaks.
"""


@pytest.mark.parametrize("text", [GMAIL, APPLE, THUNDERBIRD, ITALIAN, MUTT])
def test_a_line_that_says_so_and_a_header_name_the_author_whatever_the_subject_is(text: str) -> None:
    for subject in ("Kettle", "Fwd: Kettle", "Re: Kettle"):
        assert split(text, subject).forwarded == BO


@pytest.mark.parametrize("text", [OUTLOOK, OLD_OUTLOOK])
def test_a_header_alone_is_what_is_passed_on_where_the_subject_says_so(text: str) -> None:
    assert split(text, "WG: Kessel").forwarded == BO
    assert split(text, "Re: Kessel").forwarded is None


@pytest.mark.parametrize("text", [APPLE, THUNDERBIRD, ITALIAN, MUTT, OUTLOOK, OLD_OUTLOOK])
def test_all_that_is_passed_on_stays_in_the_text(text: str) -> None:
    found = split(text, "TR: Kettle")
    assert found.quoted is None
    assert found.text.endswith(text.rstrip().rpartition("\n")[2])


def test_who_passes_on_may_sign_above_and_what_is_passed_on_keeps_signature_and_history() -> None:
    found = split(GMAIL, "Kettle")
    assert found.signature == "Ada Quill"
    assert found.text.startswith("Please see below.\n\n---------- Forwarded message")
    assert found.text.endswith("> Is it tight?\n\n--\nBo")
    assert split(APPLE).signature == "Sent from my phone"


@pytest.mark.parametrize("words", FORWARDED)
def test_every_line_of_the_table_announces_what_is_passed_on(words: str) -> None:
    header = "From: Bo Ek <bo@shop.example>\nSubject: Kettle\n\nIt leaks."
    for line in (f"------ {words.title()} ------", f"{words.capitalize()} :"):
        assert split(f"Look.\n\n{line}\n\n{header}").forwarded == BO


@pytest.mark.parametrize("word", FORWARDS)
def test_every_beginning_of_a_subject_says_that_something_is_passed_on(word: str) -> None:
    assert split(OUTLOOK, f"{word.upper()}: Kessel").forwarded == BO


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("The forwarded message:\nFrom: a\nSubject: b", "Kettle"),
        ("Forwarded message:\nI don't have it.", "Kettle"),
        ("---- Forwarded message ----", "Kettle"),
        ("---- Forwarded message ----" + "-" * 400 + "\nFrom: a@b.example\nSubject: c", "Kettle"),
        ("Yes.\n\nOn 3 May Ada <a@b.example> wrote:\n> ---- Forwarded message ----\n> From: Bo <b@c.example>", ""),
        ("Yes.\n\nFrom: Ada\nTo: me\nSubject: x\n\n" + MUTT, "Re: x"),
        ("Thank you, it works.", "Fwd: Kettle"),
    ],
)
def test_what_passes_nothing_on_for_sure_names_nobody(text: str, subject: str) -> None:
    assert split(text, subject).forwarded is None


@pytest.mark.parametrize("said", ["Bo Ek", "", '"', "<>", "@"])
def test_who_is_named_without_an_address_is_nobody(said: str) -> None:
    mail = mail_of(f"Subject: Fwd: x\n\n---- Forwarded message ----\nFrom: {said}\nDate: today\nSubject: x\n\nHi\n")
    assert mail.forwarded is None
    assert mail.text.endswith("Hi")


class TestAMail:
    def test_passes_on_what_is_in_the_html_alone(self) -> None:
        mail = mail_of(
            "Content-Type: text/html\n\n<p>See.</p><div>---------- Forwarded message ---------<br>"
            'From: <strong>Bo Ek</strong> <span>&lt;<a href="mailto:bo@shop.example">bo@shop.example</a>&gt;</span><br>'
            "Date: Mon<br>Subject: Kettle<br></div><p>It leaks.</p>\n"
        )
        assert mail.forwarded == BO
        assert mail.text.endswith("It leaks.")

    def test_keeps_what_is_passed_on_below_a_picture(self) -> None:
        mail = mail_of(
            f"Content-Type: multipart/mixed; boundary=q\n\n--q\n\n{MUTT}\n"
            "--q\nContent-Type: image/png; name=i\n\nx\n--q\n\nAnd so on.\n\n"
            "On 2 Mar 2025, Cy <cy@shop.example> wrote:\n> Is it tight?\n--q--\n"
        )
        assert mail.forwarded == BO
        assert mail.text.endswith("> Is it tight?")
        assert mail.quoted is None

    @pytest.mark.parametrize("mime", ["message/rfc822", "message/global"])
    def test_in_the_mail_has_an_author_of_its_own(self, mime: str) -> None:
        mail = mail_of(
            "From: Ada <ada@customer.example>\nContent-Type: multipart/mixed; boundary=q\n\n--q\n\nSee.\n"
            f"--q\nContent-Type: {mime}\n\nFrom: =?utf-8?q?Bo_Ek?= <bo@shop.example>\nSubject: x\n\nIt leaks.\n--q--\n"
        )
        assert mail.forwarded == BO
        assert mail.author == Mailbox(address="ada@customer.example", name="Ada Quill")

    def test_that_comes_back_is_not_passed_on(self) -> None:
        returned = "--q\nContent-Type: message/rfc822\n\nFrom: help@shop.example\nMessage-ID: <1@shop.example>\n\nHi\n"
        status = "--q\nContent-Type: message/delivery-status\n\nX: y\n\nFinal-Recipient: rfc822; a@b.example\n\n"
        for kind in ("report", "mixed"):
            mail = mail_of(f"Content-Type: multipart/{kind}; boundary=q\n\n{status}{returned}--q--\n")
            assert mail.forwarded is None
