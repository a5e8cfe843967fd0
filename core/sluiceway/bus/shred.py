"""Secure deletes: a message's bytes are overwritten in the server's files, not only forgotten.

The server holds the stream while it does so, about 11 ms a message however many are asked for at once, and publishers
wait: deletes go one after the other, with pauses as long as they took. What a server has removed by itself, for age or
for a newer value of its key, can't be overwritten any more; `rewrite` has it left out of a file that is mostly waste.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from ..errors import SluicewayError, Unavailable
from .link import Link

TIMEOUT_S = 10
FILLER = b"\0" * 500_000
BLOCK_BYTES = 8 << 20
"""nats-server's largest file of a stream; it rewrites one that is no longer written to and is mostly waste."""

_GONE = ("not found", "no message found", "deleted message")
"""How nats-server says that a message is not there; err_code is 10057 for that as for other failures."""
_NO_STREAM = 10059


class Denied(SluicewayError):
    """The stream can't be erased from; the text says what to do."""


class Shredder:
    """Removes messages for good. Each call may be done again."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.count = 0
        """Messages overwritten so far."""

    async def message(self, stream: str, sequence: int) -> bool:
        """Whether there was such a message, which is overwritten now. Raises `Denied` or `Unavailable`."""
        started = time.monotonic()
        answer = await self._call(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence})
        error = answer.get("error")
        if error is None:
            self.count += 1
            await asyncio.sleep(time.monotonic() - started)
        elif not any(words in str(error.get("description")) for words in _GONE):
            what = "alter it, allow deletes (deny_delete false), and grant STREAM.MSG.DELETE"
            raise Denied(f"nothing can be erased from the stream {stream}: {error.get('description')}; {what}")
        return error is None

    async def key(self, bucket: str, key: str) -> bool:
        """Remove the value of a KV key; whether there was one. Raises `Denied` or `Unavailable`."""
        stream, subject, found = f"KV_{bucket}", f"$KV.{bucket}.{key}", False
        while (answer := await self._call(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})).get("error") is None:
            found = await self.message(stream, answer["message"]["seq"]) or found
        return found

    async def keys(self, bucket: str, pattern: str) -> None:
        """Remove the values of all keys that match. Raises `Denied` or `Unavailable`."""
        start = f"$KV.{bucket}."
        answer = await self._call(f"STREAM.INFO.KV_{bucket}", {"subjects_filter": f"{start}{pattern}"})
        for subject in sorted(answer.get("state", {}).get("subjects") or ()):
            await self.key(bucket, subject.removeprefix(start))

    async def rewrite(self, stream: str, subject: str) -> None:
        """Fill the file that is being written with waste on this subject, so that the server leaves and rewrites it.

        It does so at once where less than a quarter of the file is in use, within its sync interval where less than
        half is, and not otherwise.
        """
        count = BLOCK_BYTES // len(FILLER) + 2
        waste = [(await self._link.publish(subject, FILLER, timeout_s=TIMEOUT_S)).seq for _ in range(count)]
        for sequence in waste:  # after the file was left: only then is it looked at
            await self._call(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True})

    async def exists(self, stream: str) -> bool:
        """Whether there is such a stream. Raises `Unavailable`."""
        error = (await self._call(f"STREAM.INFO.{stream}", {})).get("error")
        return error is None or error.get("err_code") != _NO_STREAM

    async def _call(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        message = await self._link.request(self._link.api(call), msgspec.json.encode(body), timeout_s=TIMEOUT_S)
        if not message.data:
            raise Unavailable("this NATS has no JetStream; start nats-server with --jetstream")
        answer = msgspec.json.decode(message.data, type=dict[str, Any])
        if (answer.get("error") or {}).get("code") == 503:
            raise Unavailable(f"JetStream can't answer now: {answer['error'].get('description')}")
        return answer
