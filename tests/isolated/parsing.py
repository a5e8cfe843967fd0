"""What tests have workers call: functions that behave, and functions that do what hostile bytes make a parser do."""

from __future__ import annotations

import ctypes
import email
import email.policy
import json
import mmap
import os
import re
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import nh3

MiB = 1024 * 1024
kept: list[object] = []


class Found(msgspec.Struct):
    words: str
    size: int
    when: float | None = None


def found(words: str, raw: bytes, size: int) -> Found:
    return Found(words + raw.decode(), size)


def pid() -> int:
    return os.getpid()


def slowly(file: str) -> int:
    """Says who it is, and is busy for long."""
    tell(file)
    time.sleep(60)
    return 0


def briefly(milliseconds: int) -> int:
    time.sleep(milliseconds / 1000)
    return os.getpid()


def tell(file: str) -> None:
    temporary = Path(f"{file}.{os.getpid()}")
    temporary.write_text(str(os.getpid()))
    temporary.rename(file)


def spinning() -> None:
    while True:
        pass


def backtracking(file: str) -> None:
    """Busy in C code that holds the interpreter's lock and looks at no signal handler."""
    if file:
        tell(file)
    re.match(r"(a|aa)+$", "a" * 100 + "b")


def nesting() -> str:
    """Busy in Rust code."""
    return nh3.clean("<div><b>" * 2_000_000)


def hoarding() -> None:
    while True:
        kept.append(bytearray(MiB))


def crumbs() -> None:
    while True:
        kept.append([object() for _ in range(1000)])


def most_resident() -> int:
    """Takes what there is, gives it back, and says how many bytes of memory it ever was."""
    taken: list[object] = []
    with suppress(MemoryError):
        while True:
            taken.append(bytearray(b"x") * MiB)
    taken.clear()
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def mapping() -> None:
    while True:
        kept.append(shared := mmap.mmap(-1, MiB))
        shared.write(b"x" * MiB)


def multiplying() -> int:
    return len(b"x" * (10**9))


def hoarding_amid_others() -> None:
    """In eight threads, whose arenas count too."""
    threads = [threading.Thread(target=lambda: [bytearray(1000) for _ in range(1_000_000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hoarding()


def leaving(mebibytes: int) -> int:
    """Leaves so much behind."""
    kept.append(b"x" * mebibytes * MiB)
    return os.getpid()


def descending() -> None:
    descending()


def nested_parts(depth: int) -> int:
    """A mail of so many parts within parts."""
    head = "".join(f"Content-Type: multipart/mixed; boundary={n}\n\n--{n}\n" for n in range(depth))
    return len(email.message_from_string(head, policy=email.policy.default).as_string())


def encoded_words(count: int) -> int:
    """A subject of so many encoded words."""
    subject = "=?utf-8?q?a?= " * count
    return len(str(email.message_from_string(f"Subject: {subject}\n\n", policy=email.policy.default)["subject"]))


def deep_result() -> list[object]:
    result: list[object] = []
    for _ in range(100_000):
        result = [result]
    return result


def overflowing() -> None:
    """Runs out of the stack in C code."""
    sys.setrecursionlimit(10**9)
    json.loads("[" * 1_000_000)


def ending(code: int) -> None:
    os._exit(code)


def leaving_the_house() -> None:
    sys.exit("a customer's words")


def segfaulting() -> None:
    ctypes.string_at(0)


def aborting() -> None:
    os.abort()


def raising(words: str) -> None:
    raise ValueError(words)


def raising_oddly() -> None:
    raise type("a customer's words", (Exception,), {})


def printing() -> str:
    for stream in (sys.stdout, sys.stderr):
        print("a customer's words " * 100_000, file=stream, flush=True)
    for number in (1, 2):
        os.write(number, b"\x00\x00\x00\x01 a customer's words")
    return "printed"


def huge(mebibytes: int) -> str:
    return "x" * mebibytes * MiB


def unspeakable() -> str:
    return "\ud800"


def write_where_answers_go(frame: bytes) -> int:
    """Finds the socket, and answers by itself."""
    os.write(_answers(), frame)
    return os.getpid()


def close_where_answers_go() -> None:
    os.close(_answers())
    time.sleep(60)


def later_write_where_answers_go(frame: bytes, file: str) -> int:
    """Says something that nobody asked for, between two calls."""
    answers = _answers()

    def speak() -> None:
        os.write(answers, frame)
        tell(file)

    threading.Timer(0.1, speak).start()
    return os.getpid()


def _answers() -> int:
    return next(n for n in open_files() if n > 2 and _is_socket(n))


def _is_socket(number: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(number)):
            return True
    except OSError:
        return False


def open_files() -> list[int]:
    """The numbers of those that are open."""
    return [number for number in range(256) if _is_open(number)]


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def environment() -> dict[str, str]:
    return dict(os.environ)


def real_environment() -> str:
    """As the kernel has it, whatever Python took from it."""
    return Path("/proc/self/environ").read_text()


def writing(folder: str, mebibytes: int) -> int:
    with Path(folder, "1").open("wb") as file:
        return file.write(b"x" * mebibytes * MiB)


def opening(count: int) -> int:
    kept.extend(open(os.devnull) for _ in range(count))  # noqa: SIM115
    return count


def stopping() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def having_a_child(file: str) -> None:
    """A process of its own, which says who it is."""
    if os.fork() == 0:
        tell(file)
        time.sleep(60)
        os._exit(0)
    time.sleep(60)


def ignoring_signals(file: str) -> None:
    """Turns a deaf ear to what can be ignored, and is busy."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    tell(file)
    spinning()


def paths() -> list[str]:
    return sys.path
