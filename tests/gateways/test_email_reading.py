"""What the reader makes of the parts of a mail that the corpus shows too little of."""

from __future__ import annotations

import datetime
from encodings import aliases
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway_gateways.email import _charsets, _dates, _flowed, _html, _transfer
from sluiceway_gateways.email._addresses import mailboxes
from sluiceway_gateways.email._mail import Bounce, Mail, Mailbox
from sluiceway_gateways.email._parameters import parameters
from sluiceway_gateways.email._reading import read
from sluiceway_gateways.email._uuencoded import extracted
from sluiceway_gateways.email._words import decode_words

from .test_email_hostile import read_bytes

FROM = "From: Ada Quill <ada@customer.example>\n"


def mail_of(text: str, **options: str) -> Mail:
    return read_bytes((FROM + text).replace("\n", "\r\n").encode(), **options)


class TestFiles:
    def test_a_file_that_is_not_there_raises(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="missing"):
            read(str(tmp_path / "missing"), str(tmp_path))

    def test_attachments_are_written_byte_for_byte(self, tmp_path: Path) -> None:
        path, folder = tmp_path / "mail", tmp_path / "files"
        folder.mkdir()
        head = b"Content-Type: multipart/mixed; boundary=q\n\n--q\nContent-Type: a/b; name=x\n\n"
        path.write_bytes(head + bytes(range(256)) + b"\n--q--\n")
        mail = read(str(path), str(folder))
        assert (folder / "1").read_bytes() == bytes(range(256))
        assert [(file.file, file.kind) for file in mail.attachments] == [("1", "file")]

    def test_a_mail_in_the_mail_is_a_file_byte_for_byte(self, tmp_path: Path) -> None:
        path, folder = tmp_path / "mail", tmp_path / "files"
        folder.mkdir()
        inner = b"Subject:  two  spaces \r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nx\r\n--i--\r\n"
        path.write_bytes(b"Content-Type: message/rfc822\r\n\r\n" + inner)
        mail = read(str(path), str(folder))
        assert (folder / "1").read_bytes() == inner
        assert mail.attachments[0].name == "two spaces.eml"
        assert mail.text == ""

    def test_kinds_follow_the_declared_type(self) -> None:
        parts = "".join(f"--q\nContent-Type: {mime}/x; name=n\n\nx\n" for mime in ("image", "video", "audio", "text"))
        mail = mail_of(f"Content-Type: multipart/mixed; boundary=q\n\n{parts}--q--\n")
        assert [file.kind for file in mail.attachments] == ["image", "video", "audio", "file"]

    def test_a_long_name_keeps_its_extension(self) -> None:
        names = [("a" * 400 + ".pdf", "a" * 188 + ".pdf"), ("a" * 400, "a" * 200), ("..", None), ("/", None)]
        for said, kept in names:
            mail = mail_of(f'Content-Type: a/b; name="{said}"\n\nx\n')
            assert [file.name for file in mail.attachments] == [kept]

    def test_a_part_without_name_and_bytes_is_no_file(self) -> None:
        assert mail_of("Content-Type: application/pdf\n\n").attachments == ()

    def test_a_description_is_kept(self) -> None:
        mail = mail_of("Content-Type: a/b\nContent-Description: =?utf-8?q?Gr=C3=B6=C3=9Fe?=\n\nx\n")
        assert mail.attachments[0].description == "Größe"


class TestHeaders:
    def test_threads_are_named_by_ids_without_brackets(self) -> None:
        mail = mail_of(
            "Message-ID: bare@customer.example\nIn-Reply-To: <1@shop.example> (of Monday)\n"
            "References: <0@shop.example>\n <1@shop.example>\nReferences: <1 @ shop.example>\n\nHi\n"
        )
        assert mail.message_id == "bare@customer.example"
        assert mail.in_reply_to == ("1@shop.example",)
        assert mail.references == ("0@shop.example", "1@shop.example")

    def test_an_id_whose_bracket_does_not_close_is_none(self) -> None:
        assert mail_of("In-Reply-To: <1@shop.example\n\nHi\n").in_reply_to == ()

    def test_who_passed_it_on_is_not_who_wrote_it(self) -> None:
        mail = mail_of('Resent-From: bo@shop.example\nSender: cy@shop.example\nReply-To: "D" <d@shop.example>\n\nHi\n')
        assert mail.author == Mailbox(address="ada@customer.example", name="Ada Quill")
        assert mail.resent_from == (Mailbox(address="bo@shop.example"),)
        assert mail.sender == Mailbox(address="cy@shop.example")
        assert mail.reply_to == (Mailbox(address="d@shop.example", name="D"),)

    def test_what_a_helpdesk_wants_is_kept_and_no_more(self) -> None:
        mail = mail_of("X-Mailer: Example 1\nReceived: from x\nBcc: e@shop.example\nImportance: high\n\nHi\n")
        assert mail.headers == {"x-mailer": "Example 1", "importance": "high"}

    def test_language_list_and_delivery_are_read(self) -> None:
        mail = mail_of(
            "Content-Language: de-DE, en\nList-Id: News <news.shop.example>\nDelivered-To: help+t@shop.example\n\nHi\n"
        )
        assert (mail.lang, mail.list_id) == ("de-DE", "news.shop.example")
        assert mail.delivered_to == ("help+t@shop.example",)
        assert mail_of("List-Id: news.shop.example\nContent-Language: (none)\n\nHi\n").list_id == "news.shop.example"

    def test_a_type_that_is_none_is_plain_text(self) -> None:
        assert mail_of("Content-Type: text\n\nHi\n").text == "Hi"
        assert mail_of("Content-Type: =?utf-8?q?x?=\n\nHi\n").text == "Hi"

    def test_a_line_of_spaces_ends_the_header_where_text_follows(self) -> None:
        assert mail_of("Subject: s\n\n \nHi\n").text == " \nHi".strip()
        assert read_bytes(b"\r\n \r\nHi\r\n").text.strip() == "Hi"
        assert read_bytes(b" \r\nHi\r\n").text.strip() == "Hi"

    def test_malformed_lines_end_the_header_unless_it_goes_on(self) -> None:
        mail = mail_of("junk line\nmore\nSubject: s\n\nHi\n")
        assert (mail.subject, mail.text, mail.defects) == ("s", "Hi", ("header_malformed",))
        mail = mail_of("Dear shop\nwhere is it?\nNote: I ask twice.\nline\nline\nSubject: s\n")
        assert mail.text.startswith("Dear shop")


class TestAddresses:
    @pytest.mark.parametrize(
        ("value", "boxes"),
        [
            ("", []),
            ("a@B.Example", [("a@b.example", None)]),
            ("a@b.example (Ada (the) Quill)", [("a@b.example", "Ada the Quill")]),
            ('"Quill, Ada" <a@b.example>, c@d.example', [("a@b.example", "Quill, Ada"), ("c@d.example", None)]),
            ('"a \\"b\\" c" <a@b.example>', [("a@b.example", 'a "b" c')]),
            ('"a b"@c.example', [('"a b"@c.example', None)]),
            ("<@relay.example,@other.example:a@b.example>", [("a@b.example", None)]),
            ("Ada", [("", "Ada")]),
            ("Ada, Bo", [("", "Ada"), ("", "Bo")]),
            ("Ada, a@b.example", [("", "Ada"), ("a@b.example", None)]),
            ("a@b.example; c@d.example", [("a@b.example", None), ("c@d.example", None)]),
            ("Team: a@b.example, c@d.example;", [("a@b.example", None), ("c@d.example", None)]),
            ("(\\) a) a@b.example", [("a@b.example", ") a")]),
            ("=?utf-8?q?a=40b.example?=", [("", "a@b.example")]),
            ("a <b <c@d.example>", [("c@d.example", "a <b")]),
            (") a@b.example", [("a@b.example", None)]),
        ],
    )
    def test_a_list_is_read_as_mail_clients_read_it(self, value: str, boxes: list[tuple[str, str | None]]) -> None:
        assert [(box.address, box.name) for box in mailboxes(value)] == boxes


class TestParameters:
    @pytest.mark.parametrize(
        ("value", "name"),
        [
            ("a; name=x", "x"),
            ('a; name="x y"', "x y"),
            ('a; name="x \\"y\\" C:\\\\z"', 'x "y" C:\\z'),
            ('a; name="no end', "no end"),
            ("a; NAME=x; name=y", "x"),
            ("a; name*=utf-8''%C3%A4", "ä"),
            ("a; name*=utf-8'de'%C3%A4; name=plain", "ä"),
            ("a; name*1=b; name*0=a", "ab"),
            ("a; name*0*=utf-8''%C3; name*1*=%A4", "ä"),
            ("a; name*=%41", "A"),
            ("a; name*x*y=z; name=ok", "ok"),
        ],
    )
    def test_a_name_is_read_in_every_way_that_clients_write_it(self, value: str, name: str) -> None:
        assert parameters(value)["name"] == name


class TestWords:
    @pytest.mark.parametrize(
        ("text", "read"),
        [
            ("=?utf-8*de?q?=C3=A4?=", "ä"),
            ("=?utf-8?q?a?= =?iso-8859-1?q?=E4?= b", "aä b"),
            ("a =?utf-8?b?w6Q?= b", "a ä b"),
            ("=?utf-8?b?w6QA=A?=", "ä"),
            ("=?utf-8?b?!!!?=", ""),
            ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
            ("=?rot13?q?nop?=", "nop"),
            ("=?iso-2022-jp?b?GyRCJUYlOSVIGyhC?=", "テスト"),
        ],
    )
    def test_words_are_decoded_where_they_can_be(self, text: str, read: str) -> None:
        assert decode_words(text) == read


class TestCharsets:
    @pytest.mark.parametrize(
        ("data", "label", "text", "defect"),
        [
            (b"a", "", "a", None),
            (b"\x80", "", "€", "charset_unknown"),
            (b"\xc3\xa4", "", "ä", None),
            (b"\xc3\xa4", "latin1", "ä", "charset_wrong"),
            (b"\xe4", "utf-8", "\ufffd", "charset_wrong"),
            (b"\xc3\xa4", "x-none", "ä", "charset_unknown"),
            (b"\xc3\xa4", "shift_jis", "ﾃ､", None),
            (b"\xff\xfe", "big5", "\ufffd\ufffd", "charset_wrong"),
            (b"+2AA-", "utf-7", "\ufffd", None),
            (b"\xe4", "zlib", "ä", "charset_unknown"),
            (b"\xe4", "idna", "ä", "charset_unknown"),
            (b"\xe4", "undefined", "ä", "charset_unknown"),
            (b"\xe4", "iso8859_1", "ä", None),
            (b"a\0b", "", "ab", None),
            (b"\xe4\x00", "utf-16-le", "ä", None),
            (b"\xe4", "utf-16", "\ufffd", "charset_wrong"),
        ],
    )
    def test_what_was_meant_is_read(self, data: bytes, label: str, text: str, defect: str | None) -> None:
        assert _charsets.decode(data, label) == (text, defect)

    @given(st.sampled_from(sorted({*aliases.aliases, *aliases.aliases.values()})), st.binary(max_size=40))
    def test_no_charset_that_python_knows_raises_or_gives_what_is_no_text(self, label: str, data: bytes) -> None:
        _charsets.decode(data, label)[0].encode()


class TestDates:
    @pytest.mark.parametrize(
        ("value", "hour"),
        [
            ("Mon, 3 Mar 2025 10:15:00 +0100 (CET)", 9),
            ("3 Mar 2025 10:15", 10),
            ("Mon, 03 Mar 2025 10:15:00 GMT", 10),
            ("2025-03-03 10:15:00", 10),
            ("Mon, 3 Mar 2025 10:15:00 +9999", None),
            ("Mon, 3 Mar 3609 10:15:00 +0000", 10),
            ("Mon, 99 Mar 2025 10:15:00 +0000", None),
            ("0001-01-01T00:00:00+14:00", None),
            ("tomorrow", None),
            ("", None),
        ],
    )
    def test_dates_of_every_kind_are_in_utc(self, value: str, hour: int | None) -> None:
        found = _dates.date(value)
        assert (found.hour if found else None) == hour
        assert found is None or found.tzinfo is datetime.UTC


class TestTransfer:
    @pytest.mark.parametrize(
        ("encoding", "data", "bytes_"),
        [
            ("BASE64", b"QUI=\r\nQ0Q=\r\n", b"ABCD"),
            ("base64", b"QUJDRA", b"ABCD"),
            ("base64", b"Q", b""),
            ("base64", b"QQ==" * 1001, None),
            ("quoted-printable", b"a=\r\nb= \r\nc=41", b"abcA"),
            ("x-uuencode", b"begin 644 x\n#0V%T\n`\nend\n", b"Cat"),
            ("x-uuencode", b"begin 644 x\n#0V%T~~~~\n\xff\xff\n", b"Cat"),
            ("binary", b"a\0b", b"a\0b"),
            ("", b"", b""),
        ],
    )
    def test_encodings_are_undone_as_far_as_they_go(self, encoding: str, data: bytes, bytes_: bytes | None) -> None:
        found = b"".join(_transfer.decoded(data, 0, len(data), encoding))
        assert bytes_ is None or found == bytes_

    @pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "8bit"])
    def test_pieces_join_without_a_seam(self, encoding: str) -> None:
        data, each = (b"QUJD\r\n" * 100_000, b"ABC") if encoding == "base64" else (b"abc\r\n" * 100_000, b"abc\r\n")
        assert b"".join(_transfer.decoded(data, 0, len(data), encoding)) == each * 100_000
        one_line = b"QUJD" * 200_000
        assert b"".join(_transfer.decoded(one_line, 0, len(one_line), "base64")) == b"ABC" * 200_000

    def test_files_in_a_text_are_taken_out_if_they_end(self) -> None:
        text, files = extracted("a\nbegin 644 x\n#0V%T\n`\nend\nb\nbegin 644 y\n#0V%T\n")
        assert (text, [tuple(file) for file in files]) == ("a\n\nb\nbegin 644 y\n#0V%T\n", [("x", b"Cat")])
        assert len(extracted("begin 644 x\n#0V%T\nbegin 644 y\n#0V%T\nend\n")[1]) == 1


class TestFlowed:
    @pytest.mark.parametrize(
        ("text", "delsp", "read"),
        [
            ("a \nb\nc", False, "a b\nc"),
            ("a \nb", True, "ab"),
            ("> a \n> b \nc", False, "> a b \nc"),
            (" >a", False, ">a"),
            ("a \n-- \nb", False, "a \n-- \nb"),
            ("a ", False, "a "),
            (">> a \n> b", False, ">> a \n> b"),
        ],
    )
    def test_paragraphs_are_put_together(self, text: str, delsp: bool, read: str) -> None:
        assert _flowed.unflowed(text, delsp=delsp) == read


class TestHtmlAsText:
    @pytest.mark.parametrize(
        ("source", "text"),
        [
            ("a<br>b<br><br>c", "a\nb\n\nc"),
            ("<p>a</p><p>b</p>", "a\n\nb"),
            ("<div>a</div><div>b</div>", "a\nb"),
            ("<pre>a\n  b</pre>c", "a\n  b\n\nc"),
            ("<ul><li>a<ul><li>b</ul><li>c</ul>d", "- a\n- b\n- c\n\nd"),
            ("<ol><li>a</ol>", "- a"),
            ("<a href='https://x.example'>x.example</a>", "x.example"),
            ("<a href='https://x.example/?a=1&amp;b=2'></a>", "<https://x.example/?a=1&b=2>"),
            ("<a href='mailto:a@b.example'>a</a><a>b</a>", "ab"),
            ("<a href='https://x.example'><div>a</div>b</a>", "a\nb <https://x.example>"),
            ("<blockquote>a<blockquote>b</blockquote></blockquote>c", "> a\n> >\n> > b\n\nc"),
            ("a&nbsp;&lt;b&gt;  c", "a <b> c"),
            ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
            ("<style>x</style><title>t</title>a", "a"),
            ("", ""),
        ],
    )
    def test_html_reads_as_it_is_shown(self, source: str, text: str) -> None:
        assert _html.to_text(_html.cleaned(source)) == text


class TestBodies:
    def test_plain_text_beside_html_is_in_the_html_too(self) -> None:
        head = "Content-Type: multipart/mixed; boundary=q\n\n"
        mail = mail_of(head + "--q\n\na <b>\n--q\nContent-Type: text/html\n\n<p>c</p>\n--q--\n")
        assert mail.html == "<div>a &lt;b&gt;</div>\n<p>c</p>"
        assert mail.text == "a <b>\n\nc"

    def test_html_that_shows_nothing_is_no_html(self) -> None:
        assert mail_of("Content-Type: text/html\n\n  \n").html is None

    def test_remote_pictures_are_not_loaded(self) -> None:
        mail = mail_of("Content-Type: text/html\n\n<img src='https://t.example/p.gif' alt=logo><img src='cid:1'>\n")
        assert (mail.html or "").strip() == '<img alt="logo"><img src="cid:1">'

    def test_an_alternative_without_words_has_none(self) -> None:
        mail = mail_of(
            "Content-Type: multipart/alternative; boundary=q\n\n--q\nContent-Type: a/b; name=x\n\ny\n--q--\n"
        )
        assert (mail.text, len(mail.attachments)) == ("", 1)

    def test_other_forms_of_the_same_words_are_left_out_unless_they_are_files(self) -> None:
        part = "--q\nContent-Type: text/x-amp-html\n\n<html amp4email>\n"
        mail = mail_of(f"Content-Type: multipart/alternative; boundary=q\n\n--q\n\nHi\n{part}--q--\n")
        assert (mail.text, mail.attachments) == ("Hi", ())
        mail = mail_of(f"Content-Type: multipart/mixed; boundary=q\n\n--q\n\nHi\n{part}--q--\n")
        assert [file.mime for file in mail.attachments] == ["text/x-amp-html"]

    def test_an_invitation_alone_says_what_it_is_about(self) -> None:
        assert mail_of("Content-Type: text/calendar\n\nBEGIN:VCALENDAR\nSUMMARY;LANGUAGE=en:Call\n").text == "Call"
        assert mail_of("Content-Type: text/calendar\n\nBEGIN:VCALENDAR\n").text == ""

    def test_the_multipart_that_ended_may_begin_again(self) -> None:
        mail = mail_of("Content-Type: multipart/mixed; boundary=q\n\n--q\n\na\n--q--\n--q\n\nb\n--q--\n")
        assert mail.text == "a\n\nb"

    def test_a_multipart_within_that_has_no_parts_is_a_text(self) -> None:
        inner = "Content-Type: multipart/mixed; boundary=i\n\nwords\n"
        mail = mail_of(f"Content-Type: multipart/mixed; boundary=q\n\n--q\n{inner}--q\n\nb\n--q--\n")
        assert mail.text == "words\n\nb"

    def test_marks_that_can_deceive_are_flagged_and_kept(self) -> None:
        mail = mail_of("Subject: a\u202eb\n\nc\u200bd\n")
        assert (mail.flags, mail.subject, mail.text) == (("bidi", "zero_width"), "a\u202eb", "c\u200bd")


class TestBounces:
    def test_envelope_and_message_are_named(self) -> None:
        mail = mail_of(
            "Content-Type: multipart/report; boundary=q\n\n--q\nContent-Type: message/delivery-status\n\n"
            "Original-Envelope-Id: env-1\nX-Original-Message-ID: <7@shop.example>\n\n"
            "Original-Recipient: utf-8; jö@customer.example\nDiagnostic-Code: smtp; 452 4.2.2 full\n\n"
            "Final-Recipient: x400; /C=XX/\nAction: odd\nStatus: 2.1.5\n\nReporting-MTA: dns; x\n--q--\n"
        )
        assert mail.automatic == "bounce"
        assert mail.bounces == (
            Bounce(
                action="delayed",
                recipient="jö@customer.example",
                status="4.2.2",
                diagnostic="452 4.2.2 full",
                message_id="7@shop.example",
                envelope_id="env-1",
            ),
            Bounce(
                action="delivered", recipient="/C=XX/", status="2.1.5", message_id="7@shop.example", envelope_id="env-1"
            ),
        )

    def test_a_report_that_says_nothing_is_a_bounce_about_nobody(self) -> None:
        for body in ("", "\n--x", "junk", "Reporting-MTA: dns; x\n"):
            mail = mail_of(
                "Content-Type: multipart/report; boundary=q\n\n--q\nContent-Type: message/delivery-status\n\n"
                f"{body}\n--q--\n"
            )
            assert (mail.automatic, mail.bounces) == ("bounce", ())

    def test_prose_counts_only_where_a_server_wrote_it(self) -> None:
        prose = "\nThis is a permanent error.\n\n<bo@customer.example>:\nunknown\n"
        assert mail_of(prose).bounces == ()
        told = read_bytes(b"From: MAILER-DAEMON@mx.example\r\nIn-Reply-To: <7@shop.example>\r\n" + prose.encode())
        assert told.bounces == (Bounce(action="failed", recipient="bo@customer.example", message_id="7@shop.example"),)
        assert told.automatic == "bounce"
        assert read_bytes(b"From: MAILER-DAEMON@mx.example\r\n\r\nHello\r\n").automatic is None

    def test_of_very_many_recipients_the_first_are_named(self) -> None:
        status = "Reporting-MTA: dns; x\n\n" + "\n\nFinal-Recipient: rfc822; a@b.example\nAction: failed\n" * 300
        head = "Content-Type: multipart/report; boundary=q\n\n--q\nContent-Type: message/delivery-status\n\n"
        assert 50 < len(mail_of(head + status).bounces) <= 200

    def test_a_report_of_neither_kind_is_none(self) -> None:
        assert mail_of("Content-Type: multipart/report; boundary=q\n\n--q\n\nx\n--q--\n").automatic is None


class TestAutomatic:
    @pytest.mark.parametrize(
        ("fields", "kind"),
        [
            ("", None),
            ("Auto-Submitted: no\n", None),
            ("Auto-Submitted: auto-replied (vacation)\n", "auto_replied"),
            ("Auto-Submitted: auto-generated; x=y\n", "auto_generated"),
            ("Auto-Submitted: auto-notified\n", "auto_generated"),
            ("X-Autoreply: yes\n", "auto_replied"),
            ("Precedence: auto_reply\n", "auto_replied"),
            ("Precedence: bulk\n", "list"),
            ("List-Unsubscribe: <mailto:x@lists.example>\n", "list"),
            ("X-Auto-Response-Suppress: All\n", "auto_generated"),
            ("Return-Path: <>\n", "auto_generated"),
            ("Return-Path: <ada@customer.example>\n", None),
            ("Subject: Réponse automatique : absente\n", None),
            ("Subject: Réponse automatique : absente\nReturn-Path: <>\n", "out_of_office"),
            ("Subject: Autosvar: semester\nAuto-Submitted: auto-replied\n", "out_of_office"),
        ],
    )
    def test_headers_say_that_a_machine_wrote_it(self, fields: str, kind: str | None) -> None:
        assert mail_of(f"{fields}\nHi\n").automatic == kind

    def test_the_envelope_counts_more_than_the_return_path_field(self) -> None:
        assert mail_of("Return-Path: <a@b.example>\n\nHi\n", return_path="").automatic == "auto_generated"
        assert mail_of("Return-Path: <>\n\nHi\n", return_path="a@b.example").automatic is None


@pytest.mark.parametrize(
    "field",
    [
        b"From: ann@customer.example, eve@elsewhere.example",
        b"From: ann@customer.example\r\nFrom: eve@elsewhere.example",
    ],
)
def test_who_wrote_is_ambiguous_where_two_are_named(tmp_path: Path, field: bytes) -> None:
    (tmp_path / "mail").write_bytes(field + b"\r\nSubject: x\r\n\r\nhi\r\n")
    assert "from_ambiguous" in read(str(tmp_path / "mail"), str(tmp_path)).defects
