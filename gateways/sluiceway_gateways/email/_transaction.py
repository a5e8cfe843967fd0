"""One mail over an open connection: MAIL, RCPT, DATA (RFC 5321, 3.3), the message streamed. Opens and pools nothing.

aiosmtplib holds the connection and reads the replies. It would take the message as one `bytes` and copy it four times;
here it is written as it comes, dots doubled (4.5.2), and no faster than the relay reads.

The point of no return is the last dot: what fails before it was never taken (4.1.1.4), what fails after it is
`Ambiguous`. A mail keeps its Message-ID at every try, by which a mailbox may know it again (RFC 1047 has the problem):
who would rather have it there twice than not at all may send an `Ambiguous` one again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple, cast

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol
from msgspec import Struct

from sluiceway import Ambiguous, File, Rejected, SendError, Unreachable
from sluiceway.errors import MediaError, Unavailable

from ._base64 import encoded_chunks
from ._composing import Composed
from ._header_writing import address
from ._smtp_errors import Reply, Stage, refusal

BLOCK_S = 180
FINAL_S = 600
"""RFC 5321, 4.5.3.2: so long a relay may take to read a block, and to answer the last dot. Less makes doubles."""
LAST_WORDS_S = 1
_ENVELOPE_ID_OCTETS = 100

Answer = asyncio.Future[aiosmtplib.SMTPResponse]
Opened = tuple[bytes | tuple[File, AsyncIterator[bytes]], ...]
"""A mail's pieces, with the bytes of its files at hand."""


class Envelope(Struct, frozen=True, kw_only=True):
    """Whom a mail goes to, in so many words. The first is who it is for; the others get copies.

    `sender` is where bounces go, "" for an automatic answer (RFC 3834, 3.3). `id` comes back in them (RFC 3461, 4.4).
    """

    sender: str
    recipients: tuple[str, ...]
    id: str = ""


class Refused(NamedTuple):
    """One of the others whom the relay does not take the mail for."""

    recipient: str
    error: SendError


class Accepted(NamedTuple):
    """The relay took it. `reply` are its words, mostly with its own id in them; `refused` get no copy."""

    reply: str
    refused: tuple[Refused, ...] = ()


async def begin(client: aiosmtplib.SMTP, envelope: Envelope, mail: Composed) -> None:
    """Name the sender. Raises a `SendError`; where the relay hung up, the client is not connected any more."""
    sender = address(envelope.sender) if envelope.sender else ""
    addresses = [sender, *map(address, envelope.recipients)]
    options, utf8 = [], mail.utf8 or not all(map(str.isascii, addresses))
    if utf8 and not client.supports_extension("smtputf8"):
        raise Rejected("an address is not ASCII, and the relay takes no such mail (SMTPUTF8)", "5.6.7")
    if utf8:
        options += ["SMTPUTF8", *(["BODY=8BITMIME"] if client.supports_extension("8bitmime") else [])]
    if client.supports_extension("size"):
        most = client.esmtp_extensions["size"].strip()
        if most.isdecimal() and 0 < int(most) < mail.size:
            raise Rejected(f"the mail has {mail.size:,} octets, the relay takes {int(most):,}", "5.3.4")
        options.append(f"SIZE={mail.size}")
    if client.supports_extension("dsn"):
        id = _xtext(envelope.id)
        options += ["RET=HDRS", *([f"ENVID={id}"] if id and len(id) <= _ENVELOPE_ID_OCTETS else [])]
    _passed(await _asked(client, f"MAIL FROM:<{sender}>", *options), Stage.SENDER)


async def deliver(client: aiosmtplib.SMTP, envelope: Envelope, pieces: Opened) -> Accepted:
    """The rest, after `begin`. Raises a `SendError`; a connection in mid-sentence is cut then."""
    refused = []
    for recipient in envelope.recipients:
        try:
            reply = await _asked(client, f"RCPT TO:<{address(recipient)}>", *_notices(client, envelope, recipient))
            _passed(reply, Stage.RECIPIENT)
        except SendError as error:
            if recipient == envelope.recipients[0] or not client.is_connected:
                raise
            refused.append(Refused(recipient, error))
    reply = await _asked(client, "DATA")
    if reply.code != 354:
        _passed(reply, Stage.MESSAGE)
        raise Unreachable("the relay's answer to DATA is none of SMTP's")
    try:
        reply = await _content(client, pieces)
    except BaseException:
        cut(client)
        raise
    _passed(reply, Stage.MESSAGE)
    return Accepted(reply.text, tuple(refused))


async def reset(client: aiosmtplib.SMTP) -> bool:
    """Whether the connection is of use for another mail."""
    try:
        return (await _asked(client, "RSET")).code == 250
    except SendError:
        return False


def cut(client: aiosmtplib.SMTP) -> None:
    """End the connection without another word."""
    if client.transport is not None:
        cast(asyncio.WriteTransport, client.transport).abort()
    client.close()


def _passed(reply: Reply, stage: Stage) -> None:
    if not 200 <= reply.code < 300:
        raise refusal(reply, stage)


async def _asked(client: aiosmtplib.SMTP, *words: str) -> Reply:
    """The reply to a command. Raises `Unreachable`: no command of these sends anything."""
    try:
        code, text = await client.execute_command(*(word.encode() for word in words))
    except (aiosmtplib.SMTPException, OSError) as error:
        cut(client)
        raise Unreachable(f"the relay did not answer {words[0][:4]}: {type(error).__name__}") from error
    except BaseException:
        cut(client)
        raise
    return Reply(code, text)


def _notices(client: aiosmtplib.SMTP, envelope: Envelope, recipient: str) -> list[str]:
    """RFC 3461, 4.1 and 4.2: what we want to be told of. An automatic answer wants to hear nothing."""
    if not client.supports_extension("dsn"):
        return []
    if not envelope.sender:
        return ["NOTIFY=NEVER"]
    original = [f"ORCPT=rfc822;{_xtext(recipient)}"] if recipient.isascii() else []
    return ["NOTIFY=FAILURE,DELAY", *original]


def _xtext(text: str) -> str:
    """RFC 3461, section 4; nothing where there is more than ASCII."""
    if not (text.isascii() and text.isprintable()):
        return ""
    return "".join(c if c not in "+= " else f"+{ord(c):02X}" for c in text)


async def _content(client: aiosmtplib.SMTP, pieces: Opened) -> Reply:
    """Write the message and read what the relay says to it, be it in the middle."""
    protocol = client.protocol
    if protocol is None:
        raise Unreachable("the relay closed the connection before the message")
    answer = asyncio.ensure_future(protocol.read_response())
    answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # whether or not anybody asks
    try:
        if await _written(protocol, pieces, answer):
            return await _final(answer)
        return await _early(answer)
    finally:
        answer.cancel()


async def _written(protocol: SMTPProtocol, pieces: Opened, answer: Answer) -> bool:
    """Whether all went out, the last dot too; not where the relay said something in the middle, or hung up."""
    try:
        async for chunk in _stuffed(pieces):
            protocol.write(chunk)
            async with asyncio.timeout(BLOCK_S):
                await protocol._drain_helper()  # which asyncio's own streams call, too
            if answer.done():
                return False
        protocol.write(b".\r\n")
    except (aiosmtplib.SMTPException, OSError):
        return False
    return True


async def _final(answer: Answer) -> Reply:
    try:
        async with asyncio.timeout(FINAL_S):
            code, text = await answer
    except (aiosmtplib.SMTPException, OSError) as error:
        raise Ambiguous(f"the message was written, then: {type(error).__name__}") from error
    if not (200 <= code < 300 or 400 <= code < 600):
        raise Ambiguous(f"the message was written, and the relay's answer is none of SMTP's ({code})")
    return Reply(code, text)


async def _early(answer: Answer) -> Reply:
    """What it said, where it refuses: nothing was taken."""
    try:
        async with asyncio.timeout(LAST_WORDS_S):
            code, text = await answer
    except (aiosmtplib.SMTPException, OSError) as error:
        raise Unreachable(f"the connection broke within the message: {type(error).__name__}") from error
    if code < 400:
        raise Unreachable(f"the relay answered within the message ({code})")
    raise refusal(Reply(code, text), Stage.MESSAGE)


async def _stuffed(pieces: Opened) -> AsyncIterator[bytes]:
    """The octets as they go over the wire. What begins a line with a dot is text, and in one chunk: base64 has none."""
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece.replace(b"\n.", b"\n..")
        else:
            async for chunk in encoded_chunks(_whole(*piece)):
                yield chunk


async def _whole(file: File, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A file's bytes, as many as were said. Raises `Rejected` where there are more or fewer."""
    left = file.size
    try:
        async for chunk in chunks:
            left -= len(chunk)
            yield chunk
    except MediaError as error:
        raise Rejected(f"a file can't be sent: {error}") from error
    except Unavailable as error:
        raise Unreachable(f"a file can't be read now: {error}") from error
    if left:
        raise Rejected("a file is not as long as it was said to be")
