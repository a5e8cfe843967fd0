"""What comes after DATA, as a mail: dots undone (RFC 5321, 4.5.2) and its end found, block by block. Does no I/O.

A block is searched and copied whole: a mail of very many lines costs no more than one of the same size.
"""

from __future__ import annotations

END = b"\r\n.\r\n"


class Content:
    """`rest` is what follows the end; None until that was there. Only CRLF ends a line (SMTP smuggling)."""

    rest: bytes | None = None

    def __init__(self) -> None:
        self._held = END[:2]  # of the command's own line, which is not the mail's
        self._skipped = 2

    def feed(self, block: bytes) -> bytes:
        """What of the mail is certain now."""
        data = self._held + block
        end = data.find(END)
        if end >= 0:
            self.rest = data[end + len(END) :]
            certain = end + 2
        else:
            certain = len(data) - next(size for size in range(len(END) - 1, -1, -1) if data.endswith(END[:size]))
        content, self._held = data[:certain].replace(b"\r\n.", b"\r\n"), data[certain:]
        skipped, self._skipped = self._skipped, 0 if content else self._skipped
        return content[skipped:]
