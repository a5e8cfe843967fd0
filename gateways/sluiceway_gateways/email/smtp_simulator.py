"""A customer's mail as an MX that verifies hands it on: by SMTP, with its word for who it is from. Takes no mail."""

from __future__ import annotations

from sluiceway import Answer, Posted, Request, Response, Simulator

from ._gateway import MailAccount
from ._simulated_mail import mail
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
        raw = mail(sender, recipient, text, self.settings.authserv_id, self.fields)
        return Posted(listen=self.settings.listen, sender=sender, recipient=recipient, raw=raw)

    def deliver(self, account: MailAccount, sender: str, text: str) -> Request:
        """Mail comes by SMTP: see `post`."""
        raise ValueError("mail comes by SMTP, not by HTTP")

    def answer(self, request: Request) -> Answer:
        """Nobody asks a mail server by HTTP."""
        return Answer(Response(status=404))
