"""Twilio's Programmable Messaging in miniature: signed deliveries, messages and media, status callbacks. No I/O."""

from __future__ import annotations

import re
from urllib.parse import urldefrag, urlsplit

from sluiceway import Answer, Form, Later, Malformed, Request, Response, Simulator
from sluiceway_contracts import InvalidAddress, addresses

from .._origin import origin
from .._simulated_files import Files
from .._twilio import Connection
from .._twilio_errors import ERRORS
from .._twilio_simulation import delivery, is_login, moment, new_sid, refused
from .twilio import Number, TwilioSms

# Up to …0009 they are Twilio's own magic numbers: https://www.twilio.com/docs/iam/test-credentials
REFUSED_RECIPIENTS = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
    "+15005550429": 20429,
    "+15005550500": 20500,
}
POOL_SENDER = "+15005550006"
REFUSED_SENDERS = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}
UNDELIVERED = {"+15005553003": "30003", "+15005553005": "30005", "+15005553007": "30007", "+15005551610": "21610"}

# https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out
STOP = frozenset({"STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "REVOKE", "OPTOUT", "CANCEL"})
START = frozenset({"START", "YES", "UNSTOP"})
HELP = frozenset({"HELP", "INFO"})

DELAYS_S = (0.1, 0.3, 0.6)
# GSM 03.38: https://www.twilio.com/docs/glossary/what-is-gsm-7-character-encoding
GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_ESCAPED = frozenset("^{}\\[~]|€\f")
# A media's SID has the word in it: who simulates the delivery is not who answers for the file
SID_BYTES = 16
COUNTRIES = {"+1": "US", "+44": "GB"}


class TwilioSimulator(Simulator[Connection, Number]):
    """One Twilio account. Whoever writes STOP is refused (21610) until they write START.

    A message to any number is queued, sent after 0.3 s and delivered after 0.6 s, but for these recipients:

    +15005550001  refused with 21211, no valid number        +15005550429  HTTP 429, code 20429
    +15005550002  refused with 21612, no route               +15005550500  HTTP 500, nobody knows if it was sent
    +15005550003  refused with 21408, country not enabled    +15005553003  undelivered with 30003, out of reach
    +15005550004  refused with 21610, opted out              +15005553005  undelivered with 30005, unknown number
    +15005550009  refused with 21614, no mobile number       +15005553007  undelivered with 30007, filtered
                                                             +15005551610  undelivered with 21610, opted out

    and these senders: +15005550001 (21212), +15005550007 (21606), +15005550008 (21611).

    A delivery takes the field `media`: then it is an MMS, and the field a word of up to 16 letters that says what file
    it has: gone or expired (404), throttled (429 every other time), redirect, large-<megabytes>, liar (no picture),
    empty, <name>.mp4, .ogg or .pdf; any other is a PNG.
    """

    channel = "sms"
    takes_fields = True

    def __init__(self, settings: Connection, hook_url: str) -> None:
        super().__init__(settings, hook_url)
        self._gateway = TwilioSms(settings)
        self._stopped: set[tuple[str, str]] = set()
        self._files = Files()

    def deliver(self, account: Number, sender: str, text: str) -> Request:
        """A message to one of our numbers; the fields and their order are those of Twilio's deliveries."""
        ours, word, service = self._gateway.identity(account), text.strip().upper(), account.messaging_service or ""
        if word in STOP:
            self._stopped.add((sender, service or ours))
        elif word in START:
            self._stopped.discard((sender, service or ours))
        sid = new_sid("MM" if "media" in self.fields else "SM")
        media = self._media(sid)
        fields = {
            "ToCountry": _country(ours),
            **media,
            "ToState": "",
            "SmsMessageSid": sid,
            "NumMedia": "1" if media else "0",
            "ToCity": "",
            "FromZip": "",
            "SmsSid": sid,
            "FromState": "",
            "SmsStatus": "received",
            "FromCity": "",
            "Body": text,
            "FromCountry": _country(sender),
            "To": ours,
            **({"MessagingServiceSid": service} if service else {}),
            "ToZip": "",
            "NumSegments": str(_segments(text)),
            "MessageSid": sid,
            "AccountSid": self.settings.sid,
            "From": sender,
            "ApiVersion": "2010-04-01",
            **({"OptOutType": kind} if service and (kind := _opt_out(word)) else {}),
        }
        return delivery(self.settings, self.hook_url, fields)

    def answer(self, request: Request) -> Answer:
        """The Messages resource takes messages, and has media; there is no other resource."""
        called, account = urlsplit(request.url).path, self.settings.sid
        if request.method == "GET" and (kept := re.fullmatch(f"/media/{account}/([0-9a-f]{{32}})", called)):
            return Answer(self._files.served(_word(kept[1])))
        if not is_login(self.settings, request):
            return _refuse(20003)
        base = f"/2010-04-01/Accounts/{account}/Messages"
        if request.method == "GET" and (
            of := re.fullmatch(f"{base}/MM[0-9a-f]{{32}}/Media/ME([0-9a-f]{{32}})", called)
        ):
            return self._file(of[1], origin(request.url))
        if request.method != "POST" or called != f"{base}.json":
            return _refuse(20404)
        try:
            form = request.form
        except Malformed:
            form = Form(())
        code = self._objection(form)
        return _refuse(code) if code else self._take(form)

    def _media(self, message: str) -> dict[str, str]:
        if "media" not in self.fields:
            return {}
        word = self.fields["media"].encode("utf-8", "replace")[:SID_BYTES].hex().ljust(2 * SID_BYTES, "0")
        base = f"{self.settings.api_url.rstrip('/')}/2010-04-01/Accounts/{self.settings.sid}/Messages"
        file = self._files.find(_word(word))
        return {
            "MediaContentType0": file.mime if file else "image/jpeg",
            "MediaUrl0": f"{base}/{message}/Media/ME{word}",
        }

    def _file(self, sid: str, at: str) -> Answer:
        """The API has no file itself: it leads to an address that works for a while, without a login."""
        if self._files.throttles(_word(sid)):
            return _refuse(20429)
        if self._files.find(_word(sid)) is None:
            return _refuse(20404)
        headers = {"location": f"{at}/media/{self.settings.sid}/{sid}"}
        return Answer(Response(status=307, headers=headers))

    def _objection(self, form: Form) -> int | None:
        """The code of the first thing that is wrong with the request."""
        to, sender, service = form.get("To", ""), form.get("From", ""), form.get("MessagingServiceSid", "")
        media = [value for name, value in form.pairs if name == "MediaUrl"]
        wrong = (
            (21604, not to),
            (21603, not (sender or service)),
            (21602, not (form.get("Body", "").strip() or media)),
            (21617, len(form.get("Body", "")) > 1600),
            (21623, len(media) > 10),
            (REFUSED_SENDERS.get(sender), sender in REFUSED_SENDERS),
            (REFUSED_RECIPIENTS.get(to), to in REFUSED_RECIPIENTS),
            (21211, not _is_number(to)),
            (21610, (to, service or sender) in self._stopped),
        )
        return next((code for code, true in wrong if true), None)

    def _take(self, form: Form) -> Answer:
        media = sum(name == "MediaUrl" for name, _ in form.pairs)
        sid, account = new_sid("MM" if media else "SM"), self.settings.sid
        service, body, created_at = form.get("MessagingServiceSid"), form.get("Body", ""), moment()
        uri = f"/2010-04-01/Accounts/{account}/Messages/{sid}"
        created = {
            "account_sid": account,
            "api_version": "2010-04-01",
            "body": body,
            "date_created": created_at,
            "date_sent": None,
            "date_updated": created_at,
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": form.get("From"),
            "messaging_service_sid": service,
            "num_media": str(media),
            "num_segments": "0" if service else str(_segments(body)),
            "price": None,
            "price_unit": "USD",
            "sid": sid,
            "status": "accepted" if service else "queued",
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": form["To"],
            "uri": f"{uri}.json",
        }
        return Answer(Response.of_json(created, 201), self._callbacks(form, sid))

    def _callbacks(self, form: Form, sid: str) -> tuple[Later, ...]:
        url = urldefrag(form.get("StatusCallback", "")).url
        if not url:
            return ()
        failure = UNDELIVERED.get(form["To"])
        statuses = ("queued", "sent", "undelivered" if failure else "delivered")
        common = {
            "SmsSid": sid,
            "To": form["To"],
            "From": form.get("From", POOL_SENDER),
            "MessageSid": sid,
            "AccountSid": self.settings.sid,
            "ApiVersion": "2010-04-01",
            **({"MessagingServiceSid": form["MessagingServiceSid"]} if "MessagingServiceSid" in form else {}),
        }
        return tuple(
            Later(
                after_s,
                delivery(
                    self.settings,
                    url,
                    {
                        **({"ErrorCode": failure} if failure and status == "undelivered" else {}),
                        "MessageStatus": status,
                        "SmsStatus": status,
                        **common,
                    },
                ),
            )
            for after_s, status in zip(DELAYS_S, statuses, strict=True)
        )


def _refuse(code: int) -> Answer:
    return refused(code, ERRORS)


def _word(sid: str) -> str:
    return bytes.fromhex(sid).rstrip(b"\0").decode("utf-8", "replace")


def _opt_out(word: str) -> str:
    return next((kind for kind, words in (("STOP", STOP), ("START", START), ("HELP", HELP)) if word in words), "")


def _is_number(text: str) -> bool:
    """E.164 or a short code."""
    try:
        addresses.build("tel", text)
    except InvalidAddress:
        return re.fullmatch("[0-9]{3,8}", text) is not None
    return True


def _country(number: str) -> str:
    return next((country for prefix, country in COUNTRIES.items() if number.startswith(prefix)), "")


def _segments(text: str) -> int:
    """https://www.twilio.com/docs/glossary/what-sms-character-limit"""
    if all(c in GSM or c in GSM_ESCAPED for c in text):
        length, single, part = len(text) + sum(c in GSM_ESCAPED for c in text), 160, 153
    else:
        length, single, part = len(text.encode("utf-16-le")) // 2, 70, 67
    return 1 if length <= single else -(-length // part)
