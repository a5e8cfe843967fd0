"""Mails as we write them, read by Python's own email package; whole ones in tests/samples/email/composed."""

from __future__ import annotations

import asyncio
import base64
import datetime
import email
import email.message
import email.policy
import email.utils
import re
from collections.abc import AsyncIterator
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from sluiceway import File, Rejected
from sluiceway.gateway import Rate
from sluiceway_contracts import Choices, Location, Media, Option, Text
from sluiceway_gateways.email._base64 import encoded, encoded_chunks, encoded_size
from sluiceway_gateways.email._composing import Composed, Letter, compose
from sluiceway_gateways.email._domains import MAX_DOMAINS, Domains
from sluiceway_gateways.email._header_writing import address, field, message_id, references
from sluiceway_gateways.email._plain_text import plain_text

SAMPLES = Path(__file__).parents[1] / "samples" / "email" / "composed"
FIELDS = ["Date", "From", "To", "Message-ID", "Subject", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"]
PICTURE, PAPER = bytes(range(256)) * 3, b"%PDF-1.7\n" + b"\x00\xff" * 500
BYTES = {"media:acme/picture": PICTURE, "media:acme/paper": PAPER}


class Person(Struct, frozen=True):
    address: str
    name: str | None = None


LETTER = Letter(
    message_id="019cbb2f-7c00.q7@acme.example",
    date=datetime.datetime(2026, 3, 1, 12, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
    sender=Person("support@acme.example", "Acme Support"),
    to=(Person("ada@customer.example", "Ada Example"),),
    subject="Your parcel",
    parts=(Text(text="It is on its way."),),
)
LOGO = Media(
    kind="image",
    mime="image/png",
    ref="media:acme/picture",
    size=len(PICTURE),
    name="logo.png",
    inline=True,
    content_id="logo@acme.example",
)
BILL = Media(kind="file", mime="application/pdf", ref="media:acme/paper", size=len(PAPER), name="Bill.pdf")


def octets(mail: Composed) -> bytes:
    """The mail as it goes over the wire, but for dots."""
    return b"".join(encoded(BYTES[p.ref]) if isinstance(p, File) else p for p in mail.pieces)


def read(letter: Letter) -> email.message.EmailMessage:
    mail = compose(letter)
    whole = octets(mail)
    assert len(whole) == mail.size
    assert re.search(rb"(?<!\r)\n|\r(?!\n)|\0", whole) is None
    assert max(map(len, whole.split(b"\r\n"))) <= 998
    assert mail.utf8 or whole.isascii()
    message = email.message_from_bytes(whole, policy=email.policy.default)
    assert isinstance(message, email.message.EmailMessage)
    return message


def said(message: Any, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n").rstrip("\n")


def tree(message: Any) -> Any:
    kind = message.get_content_type()
    return (kind, *map(tree, message.iter_parts())) if message.is_multipart() else kind


def one_line(text: str) -> str:
    return re.sub(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+", " ", text).strip()


HOSTILE = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=200),
    st.lists(
        st.sampled_from(
            [
                "\r\nBcc: all@x.example",
                "\n\n<p>",
                "=?utf-8?Q?a?=",
                '"',
                "\\",
                ",",
                "<a@b.example>",
                "é",
                "日本",
                "👩🏽‍🚀",
                "x" * 90,
                *("; filename=x.exe", "%41", "'", "..", "/", "\u2028Subject: y", "(", ")", " ", "\t", "\x00", "=3D"),
            ]
        ),
        max_size=12,
    ).map("".join),
)


class TestFields:
    def test_a_plain_message_has_these_fields_and_no_others(self) -> None:
        message = read(LETTER)
        assert message.keys() == FIELDS
        assert message["From"] == "Acme Support <support@acme.example>"
        assert message["Date"] == "Sun, 01 Mar 2026 11:30:00 +0000"
        assert message["Message-ID"] == "<019cbb2f-7c00.q7@acme.example>"
        assert said(message, "plain") == "It is on its way."

    @given(HOSTILE)
    def test_whatever_the_subject_is_it_comes_back_as_one_line_and_adds_no_field(self, subject: str) -> None:
        message = read(replace(LETTER, subject=subject))
        assert [name for name in message.keys() if name != "Subject"] == [n for n in FIELDS if n != "Subject"]  # noqa: SIM118  # a field may be there twice
        assert (message["Subject"] or "") == one_line(subject)

    @given(HOSTILE)
    def test_whatever_a_name_is_it_comes_back_and_adds_no_address(self, name: str) -> None:
        name = name[:180]
        letter = replace(LETTER, to=(Person("ada@customer.example", name), Person("b@customer.example")))
        message = read(letter)
        assert message.keys() == FIELDS
        assert [one.addr_spec for one in message["To"].addresses] == ["ada@customer.example", "b@customer.example"]
        # Python 3.11's new parser puts a blank between encoded words, its old one reads them as RFC 2047 has it
        old = email.message_from_bytes(octets(compose(letter)), policy=email.policy.compat32)
        [(ada, _), (nobody, _)] = email.utils.getaddresses([old["To"]])
        assert (str(make_header(decode_header(ada))), nobody) == (one_line(name), "")

    @given(HOSTILE)
    def test_whatever_a_file_is_called_its_name_comes_back_without_a_path(self, name: str) -> None:
        message = read(replace(LETTER, parts=(replace(BILL, name=name[:140]),)))
        [part] = message.iter_attachments()
        expected = re.sub(r"[/\\<>\"]", "_", one_line(name[:140])) or "file.pdf"
        assert part.get_filename() == expected
        assert {*part.keys()} == {"Content-Type", "Content-Disposition", "Content-Transfer-Encoding"}
        assert part.get_content_disposition() == "attachment"
        assert part.get_content() == PAPER

    @given(HOSTILE)
    def test_whatever_is_written_comes_back_as_text_and_as_html(self, text: str) -> None:
        message = read(replace(LETTER, parts=(Text(text=text), LOGO)))
        lines = text.replace("\r\n", "\n").replace("\r", "\n")
        assert said(message, "plain") == f"{lines.strip(chr(10))}\n\n[image: logo.png]".lstrip("\n")
        assert "<script" not in said(message, "html")

    def test_what_is_too_long_ends_in_dots_and_a_file_keeps_its_extension(self) -> None:
        message = read(replace(LETTER, subject="é" * 2000, parts=(replace(BILL, name="ß" * 300 + ".pdf"),)))
        assert message["Subject"] == "é" * 999 + "…"
        [part] = message.iter_attachments()
        assert part.get_filename() == "ß" * 130 + "….pdf"

    def test_no_subject_is_no_field(self) -> None:
        assert "Subject" not in read(replace(LETTER, subject=" \n"))

    def test_half_of_a_surrogate_pair_is_a_question_mark(self) -> None:
        message = read(replace(LETTER, subject="a\ud800b", parts=(Text(text="c\udfffd"),)))
        assert message["Subject"] == "a?b"
        assert said(message, "plain") == "c?d"

    def test_copies_and_the_address_for_answers_stand_beside_the_recipient(self) -> None:
        token = "a2" * 24
        letter = replace(
            LETTER,
            cc=(Person("bo@customer.example", "Example, Bo"), Person("cy@customer.example")),
            reply_to=Person(f"support+{token}@acme.example", "Acme"),
        )
        message = read(letter)
        assert message["Reply-To"].addresses[0].addr_spec == f"support+{token}@acme.example"
        assert [one.display_name for one in message["Cc"].addresses] == ["Example, Bo", ""]
        assert "Bcc" not in message

    def test_nobody_to_send_to_is_refused(self) -> None:
        with pytest.raises(Rejected, match="somebody"):
            compose(replace(LETTER, to=()))

    def test_an_automatic_answer_says_so(self) -> None:
        message = read(replace(LETTER, auto_submitted="auto-replied"))
        assert message["Auto-Submitted"] == "auto-replied"
        assert "Precedence" not in message

    def test_a_field_is_folded_before_it_is_too_long(self) -> None:
        folded = field("X", ["a" * 40, "b" * 40, "c"])
        assert folded == f"X: {'a' * 40}\r\n {'b' * 40} c\r\n"

    def test_a_date_without_an_offset_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="offset"):
            compose(replace(LETTER, date=datetime.datetime(2026, 3, 1)))  # noqa: DTZ001  # which is the point


class TestAddresses:
    def test_a_domain_is_written_in_ascii(self) -> None:
        assert address("ada@Bücher.example") == "ada@xn--bcher-kva.example"
        assert address("ada@straße.example") == "ada@xn--strae-oqa.example"

    def test_an_address_beyond_ascii_makes_the_mail_utf8_and_stays_itself(self) -> None:
        letter = replace(LETTER, to=(Person("dörte@bücher.example", "Dörte"),))
        assert compose(letter).utf8
        assert not compose(LETTER).utf8
        assert "dörte@xn--bcher-kva.example>".encode() in octets(compose(letter))

    def test_dots_where_no_atom_may_have_them_are_quoted(self) -> None:
        assert address("a..b.@docomo.example") == '"a..b."@docomo.example'
        message = read(replace(LETTER, to=(Person("a..b.@docomo.example"),)))
        assert message["To"].addresses[0].username == "a..b."

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "ada",
            "a b@x.example",
            "a@x.example>",
            "a@x.example\r\nBcc: b@x.example",
            "a@[192.0.2.1]",
            "a@-ü.example",
        ],
    )
    def test_what_is_no_address_is_refused_and_not_repeated(self, text: str) -> None:
        with pytest.raises(Rejected) as caught:
            address(text)
        assert not text or text not in str(caught.value)

    def test_what_nobody_sees_in_an_address_is_refused(self) -> None:
        with pytest.raises(Rejected, match="nobody could see"):
            address("a\u202eb@x.example")

    @given(st.text(st.characters(codec="utf-8"), max_size=40), st.text(st.characters(codec="utf-8"), max_size=40))
    def test_whatever_an_address_is_it_is_refused_or_one_word(self, local: str, domain: str) -> None:
        try:
            written = address(f"{local}@{domain}")
        except Rejected:
            return
        assert not re.search(r"[\s<>,;\x00-\x1f]", written)
        assert written.rpartition("@")[2].isascii()


class TestThread:
    def test_an_answer_names_the_whole_chain_and_what_it_answers(self) -> None:
        message = read(replace(LETTER, in_reply_to="c@x.example", references=("a@x.example", "b@x.example")))
        assert message["In-Reply-To"] == "<c@x.example>"
        assert message["References"] == "<a@x.example> <b@x.example> <c@x.example>"

    def test_an_id_stands_once_in_the_chain(self) -> None:
        assert references(["a@x", "b@x", "a@x", "c@x"]) == ["<b@x>", "<a@x>", "<c@x>"]

    def test_a_long_chain_keeps_its_first_and_its_last(self) -> None:
        ids = [f"{number:04}.{'y' * 60}@x.example" for number in range(500)]
        kept = references(ids)
        assert kept[0] == f"<{ids[0]}>"
        assert kept[1:] == [f"<{id}>" for id in ids[-len(kept) + 1 :]]
        assert len(kept) > 30
        assert sum(map(len, kept)) < 3000
        message = read(replace(LETTER, references=tuple(ids), in_reply_to="last@x.example"))
        assert message["References"].endswith("<last@x.example>")

    @given(st.lists(HOSTILE, max_size=5), HOSTILE)
    def test_strangers_ids_add_no_field(self, chain: list[str], answered: str) -> None:
        message = read(replace(LETTER, references=tuple(chain), in_reply_to=answered))
        assert {*message.keys()} - {"References", "In-Reply-To"} == {*FIELDS}

    @pytest.mark.parametrize("id", ["", "a", "@x", "a@", "a b@x", "<a@x>", "a@x\r\nX: y", "é@x"])
    def test_our_own_id_is_an_id(self, id: str) -> None:
        with pytest.raises(ValueError, match="Message-ID"):
            message_id(id)


class TestUnsubscribing:
    def test_a_list_says_where_to_unsubscribe_with_one_click(self) -> None:
        uris = ("https://acme.example/u?x=1&y=2", "mailto:unsubscribe@acme.example?subject=stop")
        message = read(replace(LETTER, unsubscribe=uris, one_click=True))
        assert message["List-Unsubscribe"] == f"<{uris[0]}>, <{uris[1]}>"
        assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"

    def test_a_page_for_people_is_not_one_click(self) -> None:
        assert "List-Unsubscribe-Post" not in read(replace(LETTER, unsubscribe=("https://acme.example/u",)))

    def test_one_click_needs_an_https_address(self) -> None:
        with pytest.raises(ValueError, match="8058"):
            compose(replace(LETTER, unsubscribe=("mailto:u@acme.example",), one_click=True))

    @pytest.mark.parametrize(
        "uri", ["http://acme.example/", "https://acme.example/a b", "https://x/>\r\nX: y", "mailto:é@x"]
    )
    def test_other_addresses_are_an_error(self, uri: str) -> None:
        with pytest.raises(ValueError, match="unsubscribe"):
            compose(replace(LETTER, unsubscribe=("https://acme.example/", uri)))


class TestBodies:
    def test_plain_text_alone_needs_no_html(self) -> None:
        assert tree(read(LETTER)) == "text/plain"

    def test_markdown_is_text_as_it_is_and_html(self) -> None:
        message = read(
            replace(
                LETTER,
                parts=(Text(text="# Hi\n\n**Ada**, <b>see</b> [this](https://acme.example)", format="markdown"),),
            )
        )
        assert tree(message) == ("multipart/alternative", "text/plain", "text/html")
        assert said(message, "plain").startswith("# Hi\n\n**Ada**")
        page = said(message, "html")
        assert "<h1>Hi</h1>" in page
        assert "<strong>Ada</strong>" in page
        assert "&lt;b&gt;" in page
        assert '<a href="https://acme.example"' in page

    def test_html_is_sanitised_and_becomes_text(self) -> None:
        source = (
            '<p onclick="x()">Hello <a href="javascript:y()">you</a></p><script>z()</script><img src="data:a" alt="b">'
        )
        message = read(replace(LETTER, parts=(Text(text=source, format="html", lang="en"),)))
        page = said(message, "html")
        assert not re.search("onclick|javascript|script|data:", page)
        assert '<html lang="en">' in page
        assert said(message, "plain") == "Hello you\n\n[b]"

    def test_an_unknown_format_reads_as_plain(self) -> None:
        assert said(read(replace(LETTER, parts=(Text(text="*a*", format="bbcode"),))), "plain") == "*a*"

    def test_an_image_that_the_html_shows_is_related_to_it(self) -> None:
        text = Text(text='<p>Yours, <img src="cid:logo%40acme.example" alt="Acme"></p>', format="html")
        message = read(replace(LETTER, parts=(text, LOGO, BILL)))
        related = ("multipart/related", "text/html", "image/png")
        alternative = ("multipart/alternative", "text/plain", related)
        assert tree(message) == ("multipart/mixed", alternative, "application/pdf")
        [image] = [part for part in message.walk() if part.get_content_type() == "image/png"]
        assert image["Content-ID"] == "<logo@acme.example>"
        assert image.get_content_disposition() == "inline"
        assert image.get_content() == PICTURE
        assert said(message, "plain") == "Yours, [Acme]"

    def test_an_image_within_the_text_that_nothing_shows_is_shown_in_its_place(self) -> None:
        parts = (
            Text(text="Look:"),
            replace(LOGO, content_id=None, caption="So & so", alt='the "kettle"'),
            Text(text="Yes?"),
        )
        message = read(replace(LETTER, parts=parts))
        page = said(message, "html")
        [image] = [part for part in message.walk() if part.get_content_type() == "image/png"]
        id = image["Content-ID"].strip("<>")
        assert re.search(
            rf'Look:.*<img src="cid:{id}" alt="the &quot;kettle&quot;">.*So &amp; so.*Yes\?', page, re.DOTALL
        )
        assert said(message, "plain") == "Look:\n\n[image: logo.png] So & so\n\nYes?"

    def test_two_images_never_share_an_id_by_themselves(self) -> None:
        parts = (replace(LOGO, content_id=None), replace(LOGO, content_id="not shown"))
        ids = {part["Content-ID"] for part in read(replace(LETTER, parts=parts)).walk() if part["Content-ID"]}
        assert len(ids) == 2

    def test_a_caption_of_an_attachment_is_text(self) -> None:
        message = read(replace(LETTER, parts=(replace(BILL, caption="Your bill"),)))
        assert tree(message) == ("multipart/mixed", "text/plain", "application/pdf")
        assert said(message, "plain") == "Your bill"

    def test_a_file_elsewhere_is_a_link(self) -> None:
        film = Media(kind="video", state="remote", url="https://cdn.example/a?b&c", name="film.mp4")
        message = read(replace(LETTER, parts=(Text(text="*hi*", format="markdown"), film)))
        assert said(message, "plain").endswith("[video: film.mp4] https://cdn.example/a?b&c")
        assert '<a href="https://cdn.example/a?b&amp;c">[video: film.mp4]</a>' in said(message, "html")

    def test_what_mail_has_no_form_for_is_said_in_words(self) -> None:
        parts = (
            Choices(prompt="Which?", options=(Option(id="a", title="Red"), Option(id="b", title="Blue"))),
            Location(lat=52.5, lon=13.4, name="Here"),
            Media(kind="image", name="gone.png", state="failed"),
        )
        assert said(read(replace(LETTER, parts=parts)), "plain") == (
            "Which?\n1. Red\n2. Blue\n\nHere, 52.500000,13.400000\n\n[image: gone.png]"
        )

    def test_a_file_of_unknown_size_is_refused(self) -> None:
        with pytest.raises(Rejected, match="size"):
            compose(replace(LETTER, parts=(replace(BILL, size=None),)))

    @pytest.mark.parametrize("mime", ["message/rfc822", "multipart/mixed", "text/plain\r\nX: y", "pdf"])
    def test_what_can_not_be_a_type_here_is_a_file_of_no_known_type(self, mime: str) -> None:
        [part] = read(replace(LETTER, parts=(replace(BILL, mime=mime),))).iter_attachments()
        assert part.get_content_type() == "application/octet-stream"

    @pytest.mark.parametrize(
        ("text", "encoding"),
        [
            ("Plain.\n.\n..dots\n-- x", "7bit"),
            ("A blank at the end \nof a line", "quoted-printable"),
            ("x" * 77, "quoted-printable"),
            ("Grüße", "quoted-printable"),
            ("Здравствуйте, заказ отправлен", "base64"),
            ("", "7bit"),
        ],
    )
    def test_text_is_encoded_where_it_must_be(self, text: str, encoding: str) -> None:
        message = read(replace(LETTER, parts=(Text(text=text),)))
        assert message["Content-Transfer-Encoding"] == encoding
        assert message.get_content().replace("\r\n", "\n").removesuffix("\n") == text

    def test_no_text_can_end_a_part(self) -> None:
        letter = replace(LETTER, parts=(Text(text="x"), BILL))
        boundary = read(letter).get_boundary()
        message = read(replace(letter, parts=(Text(text=f"--{boundary}--\n--{boundary}"), BILL)))
        assert tree(message) == ("multipart/mixed", "text/plain", "application/pdf")

    def test_the_same_letter_is_the_same_mail(self) -> None:
        letter = replace(LETTER, parts=(Text(text="*a*", format="markdown"), replace(LOGO, content_id=None), BILL))
        assert octets(compose(letter)) == octets(compose(letter))


class TestWholeMails:
    @pytest.mark.parametrize(
        ("name", "letter"),
        [
            ("plain", replace(LETTER, in_reply_to="q1@customer.example")),
            (
                "rich",
                replace(
                    LETTER,
                    subject="Ihre Bestellung: Kühlschrank",
                    reply_to=Person(f"support+{'a2' * 24}@acme.example", "Acme Support"),
                    parts=(
                        Text(text="Guten Tag,\n\n* Kühlschrank\n* **Rabatt**", format="markdown", lang="de"),
                        replace(LOGO, content_id=None, name="Größe.png"),
                        replace(BILL, name="Rechnung März.pdf"),
                    ),
                ),
            ),
            (
                "smtputf8",
                replace(LETTER, to=(Person("dörte@bücher.example", "Dörte"),), auto_submitted="auto-generated"),
            ),
        ],
    )
    def test_a_mail_is_written_as_it_was(self, name: str, letter: Letter) -> None:
        assert octets(compose(letter)) == (SAMPLES / f"{name}.eml").read_bytes()


class TestBase64:
    @given(st.lists(st.binary(max_size=200), max_size=20))
    def test_any_chunks_come_to_the_same_lines(self, chunks: list[bytes]) -> None:
        async def several() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

        async def joined() -> bytes:
            return b"".join([chunk async for chunk in encoded_chunks(several())])

        whole, written = b"".join(chunks), asyncio.run(joined())
        assert written == encoded(whole)
        assert len(written) == encoded_size(len(whole))
        assert base64.b64decode(written) == whole
        assert all(len(line) <= 76 for line in written.split(b"\r\n"))


class TestPlainText:
    @pytest.mark.parametrize(
        ("page", "text"),
        [
            ("a <b>b</b>\n c<br>d<br><br>e", "a b c\nd\n\ne"),
            ("<p>a</p>  <p>b</p><div>c</div><div>d</div>", "a\n\nb\n\nc\nd"),
            ("<ul><li>a</li><li>b<ol><li>c</li><li>d</li></ol></li></ul>e", "- a\n- b\n1. c\n2. d\n\ne"),
            ("<li>a", "- a"),
            ("<table><tr><th>a</th><th>b</th></tr><tr><td>c</td><td>d</td></tr></table>", "a b\nc d"),
            (
                '<a href="https://x.example">x</a> and <a href="https://y.example">https://y.example</a>',
                "x <https://x.example> and https://y.example",
            ),
            (
                '<a href="https://x.example"><img src="a"></a>, <a href="mailto:a@x.example">a</a>, <a>b</a>',
                "<https://x.example>, a, b",
            ),
            ("a<blockquote><p>b</p><p>c</p></blockquote>d", "a\n\n> b\n>\n> c\n\nd"),
            ("<pre>  a\n\n    b</pre>c", "  a\n\n    b\n\nc"),
            ("a<hr>b", "a\n\n---\n\nb"),
            ("&lt;a&gt; &amp; b&nbsp;c", "<a> & b\u00a0c"),
            ("</a></ul></pre></blockquote>a", "a"),
            ("", ""),
        ],
    )
    def test_html_becomes_text(self, page: str, text: str) -> None:
        assert plain_text(page) == text


class TestDomains:
    def test_without_a_limit_every_mail_may_go(self) -> None:
        assert [Domains().wait_s("x.example", 1.0) for _ in range(3)] == [0, 0, 0]

    def test_a_burst_may_go_and_then_one_at_a_time(self) -> None:
        domains = Domains(Rate(per_second=2, burst=3))
        assert [domains.wait_s("x.example", 100.0) for _ in range(5)] == [0, 0, 0, 0.5, 0.5]
        assert domains.wait_s("x.example", 100.5) == 0
        assert domains.wait_s("y.example", 100.5) == 0

    def test_a_domain_may_have_its_own_rate(self) -> None:
        domains = Domains(None, {"slow.example": Rate(per_second=0.1)})
        assert [domains.wait_s("slow.example", 5.0) for _ in range(2)] == [0, 10]
        assert domains.wait_s("x.example", 5.0) == 0

    def test_of_too_many_domains_the_oldest_is_forgotten(self) -> None:
        domains = Domains(Rate(per_second=0.001))
        assert [domains.wait_s(f"{n}.example", 1.0) for n in range(MAX_DOMAINS + 1)] == [0] * (MAX_DOMAINS + 1)
        assert domains.wait_s("0.example", 1.0) == 0
        assert domains.wait_s(f"{MAX_DOMAINS}.example", 1.0) > 0
