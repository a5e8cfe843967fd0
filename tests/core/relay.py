"""A mail server that mails of ours go out by."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from sluiceway.testing.ports import free_port


class Relay:
    """Takes mail for everybody, or answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[str, list[str], bytes]] = []
        self.answers: list[str] = []
        self.hangs_up = False
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, enable_SMTPUTF8=True)
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        answer = self.answers.pop(0) if self.answers else "250 2.0.0 taken"
        if answer.startswith("2"):
            assert isinstance(envelope.content, bytes)
            self.got.append((envelope.mail_from or "", envelope.rcpt_tos, envelope.content))
        if self.hangs_up and server.transport is not None:
            self.hangs_up = False
            server.transport.close()
        return answer

    def mails(self) -> list[EmailMessage]:
        return [email.message_from_bytes(raw, policy=email.policy.default) for _, _, raw in self.got]
