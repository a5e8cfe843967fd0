"""What a relay's reply means for a message: SMTP's reply codes and enhanced status codes, in tables. Sends nothing.

Codes: RFC 5321, 4.2.3, and RFC 4954, 6. Statuses: RFC 3463, and those since in
https://www.iana.org/assignments/smtp-enhanced-status-codes/smtp-enhanced-status-codes.xhtml. The first digit of the
code decides between trying again and not, whatever the status says (RFC 5321, 4.2.1). The same tables read bounces.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import NamedTuple

from sluiceway import CredentialsRefused, Fault, Outcome, Rejected, SendError, Throttled, Unreachable


class Deferred(Unreachable):
    """This recipient's mail was not taken now, and may be later; other recipients' mail may be. Of use to nobody else:
    the whole account need not wait, as it does for `Throttled`. `retry_after_s` is how long, where the text says so.
    """

    code = "deferred"

    def __init__(self, message: str, provider_code: str, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s)
        self.provider_code = provider_code


class Stage(enum.Enum):
    """How far the dialogue had come: what is refused before a recipient was named is refused to every message."""

    CONNECT = "connect"
    LOGIN = "login"
    SENDER = "sender"
    RECIPIENT = "recipient"
    MESSAGE = "message"


class Reply(NamedTuple):
    """A reply of the relay's. `text` is whatever it wrote, addresses too: no log and no event may have it."""

    code: int
    text: str


_REJECTED = {
    "5.1.0": "the address is refused",
    "5.1.1": "there is no such mailbox",
    "5.1.2": "there is no such domain",
    "5.1.3": "the address is written wrongly",
    "5.1.4": "the address is not unique",
    "5.1.6": "the mailbox has moved, nobody says where to",
    "5.1.9": "the domain takes no mail that is written as this is",
    "5.1.10": "the domain takes no mail at all",
    "5.2.0": "the mailbox is refused",
    "5.2.1": "the mailbox is switched off",
    "5.2.2": "the mailbox is full",
    "5.2.3": "the message is larger than the mailbox takes",
    "5.2.4": "the mailing list can't be resolved",
    "5.3.0": "the mail system failed",
    "5.3.1": "the mail system is full",
    "5.3.2": "the mail system takes no mail",
    "5.3.3": "the mail system can't do what the message needs",
    "5.3.4": "the message is larger than the mail system takes",
    "5.3.5": "the mail system is set up wrongly",
    "5.4.0": "there is no way to the recipient's mail system",
    "5.4.1": "the recipient's mail system does not answer",
    "5.4.2": "the connection to the recipient's mail system is bad",
    "5.4.3": "the directory of routes failed",
    "5.4.4": "there is no route to the recipient's domain",
    "5.4.6": "the mail goes in circles",
    "5.4.7": "it could not be delivered in time",
    "5.5.0": "the relay did not understand",
    "5.5.1": "the relay takes no such command",
    "5.5.2": "the relay found a command written wrongly",
    "5.5.3": "there are too many recipients",
    "5.5.4": "the relay refused a parameter",
    "5.6.0": "the content is refused",
    "5.6.1": "the relay or the mailbox takes no media of this type",
    "5.6.2": "the content must be converted, and may not be",
    "5.6.3": "the content must be converted, and can't be",
    "5.6.7": "the recipient's mail system takes no addresses beyond ASCII (SMTPUTF8)",
    "5.6.8": "an answer needs SMTPUTF8, and may not have it",
    "5.6.9": "the header needs SMTPUTF8, and the recipient's mail system has none",
    "5.7.0": "refused by policy",
    "5.7.1": "refused by policy: the sender may not write there, or the content is not wanted",
    "5.7.2": "the sender may not write to this mailing list",
    "5.7.3": "the message must be converted securely, and can't be",
    "5.7.4": "the relay lacks a security feature",
    "5.7.5": "a cryptographic check failed",
    "5.7.6": "the relay lacks a cipher",
    "5.7.7": "the message was altered on the way",
    "5.7.10": "the relay wants encryption",
    "5.7.12": "the password must be changed",
    "5.7.15": "the priority is too low",
    "5.7.16": "the message is too large for its priority",
    "5.7.17": "the mailbox has changed hands",
    "5.7.18": "the domain has changed hands",
    "5.7.19": "whether the mailbox has changed hands can't be told",
    "5.7.20": "no DKIM signature passes: sign with the sender's domain",
    "5.7.21": "no acceptable DKIM signature: sign with the sender's domain",
    "5.7.22": "no valid DKIM signature of the author's domain: sign with it",
    "5.7.23": "SPF fails: let the relay stand in the sender's domain's SPF record",
    "5.7.24": "SPF can't be checked: the sender's domain's SPF record is broken",
    "5.7.25": "the relay's address has no name in the DNS",
    "5.7.26": "SPF and DKIM fail both: set up the sender's domain",
    "5.7.27": "the sender's domain says that it takes no mail",
    "5.7.28": "too much mail of this sender's or of this kind",
    "5.7.29": "the ARC seal does not hold",
    "5.7.30": "the recipient's mail system lacks REQUIRETLS",
}
_CREDENTIALS = {
    "5.7.8": "the relay does not accept the login",
    "5.7.9": "the relay wants a stronger login",
    "5.7.11": "the relay wants encryption before the login",
    "5.7.13": "the relay has switched the login off",
    "5.7.14": "the relay wants a trust relation with another server",
    "530": "the relay wants a login",
    "534": "the relay wants a stronger login",
    "535": "the relay does not accept the login",
    "538": "the relay wants encryption before the login",
}
_SENDER = {
    "5.1.7": "the relay does not accept the sender's address",
    "5.1.8": "the relay does not accept the sender's domain",
    "5.7.1": "the relay does not let this login send from this address",
    "5.7.60": "the relay does not let this login send from this address",
    "550": "the relay refuses the sender",
    "553": "the relay does not let this login send from this address",
    "554": "the relay refuses the sender",
}
"""In answer to MAIL FROM these are about our own address: no message can go out, until somebody sets it right."""
# A code alone says less; RFC 5321, 4.2.3.
_CODES = {
    "550": "the mailbox is refused",
    "551": "the recipient is elsewhere",
    "552": "the mailbox is full, or the message too large",
    "553": "the address is not allowed",
    "554": "the message is refused",
    "555": "the relay refused a parameter",
    "556": "the domain takes no mail",
}
_RETRY = {
    "4.2.1": "the mailbox is switched off for now",
    "4.2.2": "the mailbox is full",
    "4.3.1": "the mail system is full",
    "4.3.2": "the mail system takes no mail now",
    "4.4.1": "the recipient's mail system does not answer",
    "4.4.2": "the connection broke",
    "4.4.5": "the mail system is congested",
    "4.5.3": "there were too many recipients at once",
    "4.7.0": "the mail system wants us to come again later",
    "4.7.1": "the mail system wants us to come again later",
    "4.7.28": "too much mail of this sender's or of this kind",
    "421": "the relay closes",
    "450": "the mailbox is busy",
    "451": "the mail system could not do it now",
    "452": "the mail system is full, or there were too many recipients at once",
    "454": "the login can't be checked now",
    "455": "the relay can't take a parameter now",
}

ERRORS: Mapping[str, Fault] = {
    **{code: Fault(Outcome.REJECTED, text) for code, text in (_CODES | _REJECTED).items()},
    **{code: Fault(Outcome.CREDENTIALS, text) for code, text in _CREDENTIALS.items()},
    **{code: Fault(Outcome.RETRY, text) for code, text in _RETRY.items()},
}
"""By status, and by code where there is none; a gateway's `errors`."""

_WHOLE_ACCOUNT = {"4.3.1", "4.3.2", "4.4.5", "4.7.28"}
"""The relay, or what it thinks of us: the next message would fare no better."""
_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?!\d)")
_WAIT = re.compile(
    r"\b(?:in|after|for|within|wait)\s+(?:(\d{1,2}):(\d\d):(\d\d)|(\d{1,6})\s*(s|sec|seconds?|m|min|minutes?|h|hours?)\b)",
    re.IGNORECASE,
)
"""As greylisting says it: "try again in 300 seconds", "Greylisted for 5 minutes", "come back in 00:04:59"."""
_SECONDS = {"s": 1, "m": 60, "h": 3600}
LONGEST_WAIT_S = 86_400


def status(reply: Reply) -> str | None:
    """The enhanced status code (RFC 2034), unless it contradicts the code."""
    found = _STATUS.match(reply.text.lstrip())
    return found[0] if found and found[1] == str(reply.code)[0] else None


def retry_after_s(text: str) -> float | None:
    """How long the text wants us to wait; None where it does not say, or says more than a day."""
    found = _WAIT.search(text)
    if found is None:
        return None
    hours, minutes, seconds, number, unit = found.groups()
    wait_s = int(number) * _SECONDS[unit[0].lower()] if number else int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    return float(wait_s) if wait_s <= LONGEST_WAIT_S else None


def refusal(reply: Reply, stage: Stage) -> SendError:
    """The exception for a reply that refuses. Its text is ours: the relay's has addresses in it."""
    told = status(reply)
    code = told or str(reply.code)
    words = f"{reply.code} {told}" if told else str(reply.code)
    if 400 <= reply.code < 500:
        return _later(reply, stage, code, words)
    if not 500 <= reply.code < 600:
        return Unreachable(f"the relay's answer is none of SMTP's ({words})")
    fault = ERRORS.get(code) or ERRORS.get(str(reply.code)) or Fault(Outcome.REJECTED, "the relay refuses")
    if stage is Stage.CONNECT:
        return CredentialsRefused(f"the relay refuses to talk to us ({words})", code)
    if stage is Stage.LOGIN or fault.outcome is Outcome.CREDENTIALS or str(reply.code) in _CREDENTIALS:
        text = fault.text if fault.outcome is Outcome.CREDENTIALS else "the relay refuses the login"
        return CredentialsRefused(f"{text} ({words})", code)
    if stage is Stage.SENDER and code in _SENDER:
        return CredentialsRefused(f"{_SENDER[code]} ({words})", code)
    return Rejected(f"{fault.text} ({words})", code)


def _later(reply: Reply, stage: Stage, code: str, words: str) -> SendError:
    fault = ERRORS.get(code) or ERRORS.get(str(reply.code)) or Fault(Outcome.RETRY, "the relay can't take it now")
    text, wait_s = f"{fault.text} ({words})", retry_after_s(reply.text)
    ours = stage in (Stage.RECIPIENT, Stage.MESSAGE) and reply.code != 421 and code not in _WHOLE_ACCOUNT
    return Deferred(text, code, wait_s) if ours else Throttled(text, wait_s)
