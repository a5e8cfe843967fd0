"""A customer's mail as an MX that verifies hands it on: by SMTP, with its word for who it is from. Takes no mail."""

from __future__ import annotations

import email.message
import email.policy
import email.utils
import secrets

from sluiceway import Answer, Posted, Request, Response, Simulator

from ._gateway import MailAccount
from .smtp import Smtp


class EmailSimulator(Simulator[Smtp, MailAccount]):
    """One MX. Mail of ours goes to the relay that is configured, which `python -m aiosmtpd -n` can stand in for.

    A delivery takes the fields `subject`, `to` (an address of ours with a reply token, else the account's own),
    `in_reply_to` (a Message-ID) and `unproven`: then the MX says that nothing proves the sender.
    """

    channel = "email"
    takes_fields = True

    def post(self, account: MailAccount, sender: str, text: str) -> Posted:
        """A mail to one of our addresses."""
        recipient = self.fields.get("to") or account.address.partition(":")[2]
        mail = email.message.EmailMessage(policy=email.policy.SMTP)
        domain = sender.rpartition("@")[2]
        result = "none" if "unproven" in self.fields else "pass"
        verifier = self.settings.authserv_id or "mx.example"
        mail["Authentication-Results"] = f"{verifier}; dmarc={result} header.from={domain}"
        mail["From"], mail["To"] = sender, recipient
        mail["Subject"] = self.fields.get("subject", "A question")
        mail["Date"] = email.utils.formatdate()
        mail["Message-ID"] = f"<{secrets.token_hex(12)}@{domain}>"
        if "in_reply_to" in self.fields:
            mail["In-Reply-To"] = self.fields["in_reply_to"]
        mail.set_content(text)
        return Posted(listen=self.settings.listen, sender=sender, recipient=recipient, raw=mail.as_bytes())

    def deliver(self, account: MailAccount, sender: str, text: str) -> Request:
        """Mail comes by SMTP: see `post`."""
        raise ValueError("mail comes by SMTP, not by HTTP")

    def answer(self, request: Request) -> Answer:
        """Nobody asks a mail server by HTTP."""
        return Answer(Response(status=404))
