"""A customer's mail as a mail server that verifies hands it on, with its word for who it is from."""

from __future__ import annotations

import email.message
import email.policy
import email.utils
import secrets
from collections.abc import Mapping


def mail(sender: str, recipient: str, text: str, verifier: str, fields: Mapping[str, str]) -> bytes:
    """`fields` may have `subject`, `in_reply_to` (a Message-ID) and `unproven`: then nothing proves the sender."""
    made = email.message.EmailMessage(policy=email.policy.SMTP)
    domain = sender.rpartition("@")[2]
    result = "none" if "unproven" in fields else "pass"
    made["Authentication-Results"] = f"{verifier or 'mx.example'}; dmarc={result} header.from={domain}"
    made["From"], made["To"] = sender, recipient
    made["Subject"] = fields.get("subject", "A question")
    made["Date"] = email.utils.formatdate()
    made["Message-ID"] = f"<{secrets.token_hex(12)}@{domain}>"
    if "in_reply_to" in fields:
        made["In-Reply-To"] = fields["in_reply_to"]
    made.set_content(text)
    return made.as_bytes()
