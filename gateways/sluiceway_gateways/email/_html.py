"""HTML of mails: cleaned for display, and made into text. It loads nothing, and lets nothing through that acts.

Links lead to http, https, mailto and cid; pictures are shown by cid alone: the `src` of every other one is removed, so
that nobody is told that the mail was opened. The raw mail has what was removed.
"""

from __future__ import annotations

import html
import re

import nh3

MAX_CHARS = 1 << 20
MAX_READ_CHARS = 1 << 19
"""So much of a page is made into text; the page has the rest."""
MAX_DEPTH = 4000
MAX_WORK = 2_000_000_000
_TAGS = {
    *("a", "abbr", "address", "b", "big", "blockquote", "br", "caption", "center", "cite", "code", "col"),
    *("colgroup", "dd", "del", "details", "dfn", "div", "dl", "dt", "em", "figcaption", "figure", "font", "h1"),
    *("h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "s"),
    *("samp", "small", "span", "strike", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot"),
    *("th", "thead", "tr", "tt", "u", "ul", "var"),
}
_CELL = {"align", "valign", "colspan", "rowspan", "width", "height", "bgcolor", "style"}
_ATTRIBUTES = {
    "*": {"dir", "lang", "title", "align", "style"},
    "a": {"href"},
    "blockquote": {"type"},
    "col": {"span", "width"},
    "font": {"color", "face", "size"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start", "type"},
    "table": {"border", "cellpadding", "cellspacing", "width", "bgcolor", "align", "style"},
    "td": _CELL,
    "th": _CELL,
    "tr": {"align", "valign", "bgcolor", "style"},
}
_STYLES = {
    *("color", "background-color", "font-weight", "font-style", "font-size", "text-align", "text-decoration"),
    *("vertical-align", "white-space", "padding", "border", "border-collapse"),
}
"""Properties that neither load anything nor place anything over something else."""
_SCHEMES = {"http", "https", "mailto", "cid"}
_LINKS = tuple(f"{scheme}:" for scheme in sorted(_SCHEMES))
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)")
_SEPARATING = {
    *("a", "b", "blockquote", "br", "div", "em", "font", "hr", "i", "img", "li", "p", "span", "strong", "table", "u")
}
"""Elements whose beginning ends a stretch of text."""
_SHALLOW = {
    "area",
    "base",
    "br",
    "col",
    "embed",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "param",
    "source",
    "track",
    "wbr",
}
_SHALLOW |= {"colgroup", "dd", "dt", "li", "option", "p", "tbody", "td", "tfoot", "th", "thead", "tr"}
"""Elements that are empty, or that end where the next of their kind begins: many are not deep."""


def bounded(source: str) -> str:
    """The source up to where `cleaned` would take too long for it.

    Its parser nests without end, and takes time by the length of a stretch of text times the number of its references.
    """
    source = source[:MAX_CHARS]
    depth, work, start = 0, 0, 0
    for found in _TAG.finditer(source):
        name = found[2].lower()
        if name in _SEPARATING and not found[1]:
            work += (found.start() - start) * source.count("&", start, found.start())
            start = found.end()
        if name not in _SHALLOW:
            depth = max(depth - 1, 0) if found[1] else depth + 1
        if depth > MAX_DEPTH or work > MAX_WORK:
            return source[: found.start()]
    last = len(source) - start
    return source if last * source.count("&", start) <= MAX_WORK else source[: start + MAX_WORK // last]


def cleaned(source: str) -> str:
    """The HTML without anything that runs, loads, sends, or leaves its frame."""
    return nh3.clean(
        source,
        tags=_TAGS,
        clean_content_tags={"script", "style", "title"},
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes=_SCHEMES,
        filter_style_properties=_STYLES,
        link_rel="noopener noreferrer nofollow",
    )


def _attribute(tag: str, name: str, value: str) -> str | None:
    if name == "href" and not value.strip().lower().startswith(_LINKS):
        return None
    if tag == "img" and name == "src" and not value.strip().lower().startswith("cid:"):
        return None
    if name == "style" and ("url(" in value.lower() or "\\" in value):
        return None
    return value


def from_text(text: str) -> str:
    """Plain text as HTML."""
    return "<div>" + html.escape(text).replace("\n", "<br>") + "</div>"


def to_text(clean: str) -> str:
    """The text of HTML that was cleaned: block quotations have > before their lines, links their address behind."""
    writer = _Writer()
    for close, tag, attributes, text in _TOKEN.findall(clean[:MAX_READ_CHARS]):
        if text:
            writer.data(html.unescape(text))
        elif close:
            writer.end(tag)
        else:
            writer.start(tag, attributes)
    return writer.result()


_PARAGRAPHS = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "blockquote", "pre", "table", "figure", "hr"}
_BLOCKS = _PARAGRAPHS | {
    *("div", "li", "tr", "dt", "dd", "address", "center", "caption", "figcaption", "details", "summary"),
}
_SPACES = re.compile(r"[ \t\n\r\f]+")


_TOKEN = re.compile(r'<(/?)([a-z0-9]+)((?: [a-z-]+="[^"]*")*)>|([^<]+)')
"""What the sanitiser writes: https://html.spec.whatwg.org/multipage/parsing.html#serialising-html-fragments"""
_HREF = re.compile(r' href="([^"]*)"')


class _Writer:
    """Writes lines. `blank` says that an empty one is owed before the next."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.line: list[str] = []
        self.space = False
        self.depth = 0
        self.preformatted = 0
        self.lists = 0
        self.links: list[tuple[str, int]] = []
        self.blank = False

    def start(self, tag: str, attributes: str) -> None:
        match tag:
            case "br":
                self._end(force=True)
            case "blockquote":
                self._paragraph()
                self.depth += 1
            case "a":
                found = _HREF.search(attributes)
                self.links.append((html.unescape(found[1]) if found else "", len(self.line)))
            case "td" | "th":
                self.space = bool(self.line)
            case "pre":
                self._paragraph()
                self.preformatted += 1
            case "ul" | "ol":
                self._paragraph() if not self.lists else self._end()
                self.lists += 1
            case "li":
                self._end()
                self.line.append("- ")
            case _ if tag in _PARAGRAPHS:
                self._paragraph()
            case _ if tag in _BLOCKS:
                self._end()

    def end(self, tag: str) -> None:
        match tag:
            case "blockquote":
                self._paragraph()
                self.depth = max(self.depth - 1, 0)
            case "a" if self.links:
                self._link(*self.links.pop())
            case "pre":
                self.preformatted = max(self.preformatted - 1, 0)
                self._paragraph()
            case "ul" | "ol":
                self.lists = max(self.lists - 1, 0)
                self._end() if self.lists else self._paragraph()
            case _ if tag in _PARAGRAPHS:
                self._paragraph()
            case _ if tag in _BLOCKS:
                self._end()

    def data(self, data: str) -> None:
        if self.preformatted:
            *lines, last = data.split("\n")
            for line in lines:
                self.line.append(line)
                self._end(force=True)
            self.line.append(last)
            return
        text = _SPACES.sub(" ", data)
        if (text.startswith(" ") or self.space) and self.line:
            self.line.append(" ")
        self.space = text.endswith(" ")
        if text.strip(" "):
            self.line.append(text.strip(" "))

    def result(self) -> str:
        self._end()
        return "\n".join(self.lines).replace("\xa0", " ").strip("\n")

    def _link(self, address: str, start: int) -> None:
        text = "".join(self.line[start:]).strip()
        shown = {text, f"http://{text}", f"https://{text}", f"http://{text}/", f"https://{text}/"}
        if address.lower().startswith(("http:", "https:")) and address not in shown:
            self.line.append(f"{' ' if text else ''}<{address}>")

    def _end(self, *, force: bool = False) -> None:
        text = "".join(self.line).rstrip(" ")
        if text.strip() or force:
            if self.blank and self.lines:
                self.lines.append(self._mark(""))
            self.blank = False
            self.lines.append(self._mark(text))
        self.line, self.space = [], False
        self.links = [(address, 0) for address, _ in self.links]

    def _paragraph(self) -> None:
        self._end()
        self.blank = bool(self.lines) and self.lines[-1].strip("> ") != ""

    def _mark(self, text: str) -> str:
        return ("> " * min(self.depth, 20) + text).rstrip(" ") if self.depth else text
