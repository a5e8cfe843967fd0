"""Whether a machine wrote a mail: RFC 3834, 3464, 5965, 2369, 2919, and what clients write instead.

A subject alone decides nothing: it says more only where a header says that nobody wrote the mail by hand.
"""

from __future__ import annotations

import re

from ._headers import Headers

# Subjects of the out-of-office notices of Exchange, Gmail, GMX, Zimbra and others
_AWAY = re.compile(
    r"\s*\W{0,3}(?:"
    r"out of (?:the )?office|automatic reply|auto(?:matic)?[ -]?(?:reply|response)|away from|on (?:holiday|vacation)"
    r"|abwesen|automatische antwort|urlaub"
    r"|réponse automatique|absen[ct]e|absent"
    r"|risposta automatica|fuori ufficio|assenza"
    r"|respuesta automática|fuera de (?:la )?oficina|ausen(?:cia|te)"
    r"|automatisch antwoord|afwezig|niet aanwezig"
    r"|automatyczna odpowiedź|odpowiedź automatyczna|nieobecno|poza biurem"
    r"|autosvar|automatiskt svar|frånvar|ej på plats|automatisk svar|fravær|ikke til ?stede"
    r"|automatická odpověď|mimo kancelář|nepřítomn)",
    re.IGNORECASE,
)
# https://learn.microsoft.com/openspecs/exchange_server_protocols/ms-oxcmail, and the habits of vacation programs
_REPLIES = {"x-autoreply", "x-autorespond", "x-autoresponder", "x-autoreply-from", "x-mail-autoreply", "x-vacation"}
_LISTS = {"list-id", "list-post", "list-help", "list-unsubscribe", "list-subscribe", "list-archive", "list-owner"}
_DAEMONS = re.compile(r"(?:mailer-daemon|mail-daemon|postmaster|mail\.delivery)(?:@|$)", re.IGNORECASE)


def is_daemon(author: str) -> bool:
    """Whether a mail server wrote the mail, as far as its sender's address tells."""
    return _DAEMONS.match(author) is not None


def automatic(
    headers: Headers, *, subject: str, author: str, return_path: str | None, report: str, bounced: bool
) -> str | None:
    """What kind of machine it was; None for a person.

    `report` is the report-type of a multipart/report. `return_path` is the envelope's sender, empty for none; None says
    that it is not known. `bounced` says that the mail reports of a delivery.
    """
    null = return_path == ""
    if report == "feedback-report":
        return "complaint"
    if report == "delivery-status" or (bounced and (null or is_daemon(author))):
        return "bounce"
    return _reply(headers, away=_AWAY.match(subject) is not None, null=null)


def _reply(headers: Headers, *, away: bool, null: bool) -> str | None:
    """What no report is: an answer of a machine, a list's mail, a notice."""
    names = {name for name, _ in headers.fields}
    submitted = headers.first("auto-submitted").partition(";")[0].partition("(")[0].strip().lower()
    precedence = headers.first("precedence").lower()
    if submitted == "auto-replied" or _REPLIES & names or precedence == "auto_reply":
        return "out_of_office" if away else "auto_replied"
    suppresses = "x-auto-response-suppress" in names
    if away and (suppresses or null or submitted.startswith("auto-")):
        return "out_of_office"
    if _LISTS & names or precedence in {"list", "bulk", "junk"}:
        return "list"
    if submitted.startswith("auto-") or suppresses or null:
        return "auto_generated"
    return None
