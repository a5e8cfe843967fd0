"""Sanitised HTML as plain text, for mail programs that show no HTML. Fetches nothing and judges nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_BLOCKS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "pre", "figure"})
"""What stands apart from what is around it, by an empty line."""
_LINES = frozenset({"div", "li", "tr", "dt", "dd", "section", "article", "header", "footer", "figcaption", "caption"})
_BLANKS = re.compile(r"[ \t\r\n\f]+")


def plain_text(page: str) -> str:
    """The words of a fragment: lists with their marks, links with their addresses, quotations behind `> `."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return "\n".join(line.rstrip() for line in "".join(reader.out).split("\n")).strip("\n")


class _Reader(HTMLParser):
    """Collects text. Line breaks are owed until more text comes, so that none stands at an end or too often."""

    def __init__(self) -> None:
        super().__init__()
        self.out: list[str] = []
        self._owed = 0
        self._blank = False
        self._quoted = 0
        self._was_quoted = 0
        self._pre = 0
        self._lists: list[int | None] = []
        self._links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._break(tag)
        match tag:
            case "br":
                self._owe(self._owed + 1)
            case "hr":
                self._owe(2)
                self._write("---")
                self._owe(2)
            case "img":
                self._write(f"[{given['alt']}]" if given.get("alt") else "")
            case "td" | "th":
                self._blank = True
            case "li":
                self._write(self._mark())
            case "ul" | "ol":
                self._lists.append(1 if tag == "ol" else None)
            case "a":
                self._links.append((given.get("href") or "", len(self.out)))
            case "blockquote":
                self._quoted += 1
            case "pre":
                self._pre += 1

    def handle_endtag(self, tag: str) -> None:
        match tag:
            case "ul" | "ol":
                self._lists = self._lists[:-1]
            case "a" if self._links:
                self._link(*self._links.pop())
            case "blockquote":
                self._quoted = max(0, self._quoted - 1)
            case "pre":
                self._pre = max(0, self._pre - 1)
        self._break(tag)

    def handle_data(self, data: str) -> None:
        if self._pre:
            for number, line in enumerate(data.split("\n")):
                self._owe(self._owed + 1 if number else self._owed)
                self._write(line)
            return
        words = _BLANKS.sub(" ", data)
        self._blank |= words.startswith(" ")
        self._write(words.strip(" "))
        self._blank |= words.endswith(" ")

    def _mark(self) -> str:
        number = self._lists[-1] if self._lists else None
        if number is None:
            return "- "
        self._lists[-1] = number + 1
        return f"{number}. "

    def _link(self, href: str, start: int) -> None:
        label = "".join(self.out[start:]).strip()
        if href.startswith(("http://", "https://")) and href != label:
            self._blank = bool(label)
            self._write(f"<{href}>")

    def _break(self, tag: str) -> None:
        nested = tag in ("ul", "ol") and len(self._lists) > 0
        self._owe(2 if tag in _BLOCKS and not nested else 1 if tag in _LINES or nested else 0)

    def _owe(self, breaks: int) -> None:
        self._owed = max(self._owed, breaks)

    def _write(self, words: str) -> None:
        if not words:
            return
        prefix = "> " * self._quoted
        if not self.out:
            self.out.append(prefix)
        elif self._owed:
            between = "> " * min(self._quoted, self._was_quoted)
            self.out.append(f"\n{between}" * (self._owed - 1) + f"\n{prefix}")
        elif self._blank and not self.out[-1].endswith(" "):
            self.out.append(" ")
        self.out.append(words)
        self._owed, self._blank, self._was_quoted = 0, False, self._quoted
