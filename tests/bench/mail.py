"""How long mails of the worst kinds take to read, and how much memory; each in a process of its own, as in a worker.

python -m tests.bench.mail
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HEADER = b"From: a@customer.example\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
MIXED = HEADER + b"Content-Type: multipart/mixed; boundary=q\r\n\r\n"
HTML = HEADER + b"Content-Type: text/html; charset=utf-8\r\n\r\n"


def large() -> bytes:
    """25 MB: a text and a file of random bytes in base64."""
    lines = base64.encodebytes(os.urandom(18_200_000)).replace(b"\n", b"\r\n")
    head = b"--q\r\n\r\nHi\r\n--q\r\nContent-Type: a/b; name=x\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return MIXED + head + lines + b"--q--\r\n"


def nested() -> bytes:
    """3,000 multiparts, each in the one before."""
    part = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n"
    return HEADER + b"".join(part % (level, level) for level in range(3000)) + b"\r\ndeep\r\n"


MAILS: dict[str, Callable[[], bytes]] = {
    "25 MB, a file": large,
    "25 MB, text": lambda: HEADER + b"\r\n" + b"words in a line\r\n" * 1_470_000,
    "25 MB, one line": lambda: HEADER + b"\r\n" + b"x" * 25_000_000,
    "25 MB, lines that look like delimiters": lambda: MIXED + b"--x\n" * 6_250_000,
    "3,000 parts in parts": nested,
    "3,000 parts": lambda: MIXED + b"--q\r\n\r\nx\r\n" * 3000,
    "20,000 encoded words": lambda: b"Subject: " + b"\r\n ".join([b"=?utf-8?q?w=C3=A4?="] * 20_000) + b"\r\n\r\nHi",
    "1 MB HTML": lambda: HTML + b'<p style="color:red">some <b>text</b> here</p>' * 22_000,
    "1 MB HTML, ampersands": lambda: HTML + b"&" * 1_000_000,
    "1 MB HTML, elements in elements": lambda: HTML + b"<div>" * 200_000,
    "1 MB of headers that nothing announces": lambda: HEADER + b"\r\n" + b"From: a@b.example\nTo: c\n" * 34_000,
    "1 MB of announcements": lambda: HEADER + b"\r\n" + b"-- Forwarded message --\nFrom: a\n" * 30_000,
    "1 MB of quotations": lambda: HEADER + b"\r\n" + b"On 3 May a wrote:\n> b\n" * 45_000,
}


def measure(path: str) -> None:
    """Read one mail, and print what it took."""
    from sluiceway_gateways.email._reading import read

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        mail = read(path, folder)
        seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()
    peak_mb = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(f"{seconds:6.2f} s {peak_mb:6.0f} MB  {', '.join(mail.defects)}")  # noqa: T201


def main() -> None:
    """Each mail in turn."""
    for name, make in MAILS.items():
        with tempfile.NamedTemporaryFile() as file:
            file.write(make())
            file.flush()
            print(f"{name:40}", end="", flush=True)  # noqa: T201
            subprocess.run([sys.executable, "-m", "tests.bench.mail", file.name], check=True)


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
