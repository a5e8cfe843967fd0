"""Twilio's error codes that a call can meet, by what they mean for it; SIP trunks, payments and billing are left out.

A code is documented at https://www.twilio.com/docs/api/errors/<code>; the list is
https://www.twilio.com/docs/api/errors/twilio-error-codes.json. What only one number or country meets is REJECTED, never
CREDENTIALS: that pauses the account. A code that is not here is REJECTED by an answer and FAILED in a status callback.
"""

from __future__ import annotations

from collections.abc import Mapping

from sluiceway import Fault, Outcome

# Twilio says that it placed nothing, and that the same may work later.
_RETRY = {
    "10004": "too many calls of this account at once",
    "20162": "another request is changing the same thing",
    "20429": "too many requests of this account at once",
    "21730": "Twilio is under maintenance",
}

# Nobody can be called with this login until somebody acts.
_CREDENTIALS = {
    "401": "Twilio does not accept the credentials",
    "403": "Twilio refuses the account",
    "10001": "the account is not active",
    "20003": "wrong credentials, or no permission to call",
    "20005": "the account is inactive: no funds, or not activated",
    "20006": "access is denied",
    "20008": "test credentials can't do this",
    "20010": "calling is switched off for the account",
    "20101": "the access token is invalid",
    "20104": "the access token has expired",
    "20403": "the account is suspended or closed",
    "20404": "the account SID is unknown, or another account's",
    "21470": "the account SID is invalid",
    "21471": "the account SID is unknown",
    "21472": "the account is inactive",
}

# The request, the number that is called or our number's set-up is wrong: the same again would not work.
_REJECTED = {
    "404": "Twilio has no such address; check api_url",
    "10002": "a trial account can't do this",
    "11100": "a URL is malformed",
    "13214": "our number may not be shown to whoever is called",
    "13223": "the number is not in E.164",
    "13224": "Twilio can't call this number, or it is invalid",
    "13225": "Twilio blocks this number",
    "13226": "there is no such country code",
    "13227": "this country is not enabled in the voice geographic permissions",
    "13247": "our number is no valid caller's number",
    "13248": "our number is too long to be shown",
    "20001": "a parameter is unknown",
    "20004": "the HTTP method is not allowed",
    "20011": "the TLS version is too old",
    "20012": "the TLS cipher is refused",
    "20409": "the request conflicts with another",
    "20410": "this API was discontinued",
    "20422": "a parameter is invalid",
    "20423": "a SID is malformed",
    "20426": "the request needs a newer protocol",
    "21201": "the number is missing",
    "21202": "a premium number is not called",
    "21203": "international calls are not enabled",
    "21205": "the address for the call's instructions is invalid; check public_url",
    "21206": "the digits to send are invalid",
    "21208": "the time to ring is invalid",
    "21209": "the HTTP method for the call's instructions is invalid",
    "21210": "our number is not this account's, and not verified",
    "21211": "it is not a valid number",
    "21212": "our number is no valid caller's number",
    "21213": "our number is missing",
    "21214": "the number can't be reached",
    "21215": "this country is not enabled in the voice geographic permissions",
    "21216": "Twilio blocks this number",
    "21217": "it does not look like a valid number",
    "21218": "the application SID is invalid",
    "21219": "a trial account may call verified numbers alone",
    "21220": "the call is not in progress",
    "21609": "the address for status callbacks is invalid; check public_url",
    "21626": "the events for status callbacks are invalid",
    "32203": "Twilio blocks this number",
    "32205": "this country is not enabled in the voice geographic permissions",
}

# Twilio took it, and it did not come about.
_FAILED = {
    "11200": "our hook did not answer with a 2xx",
    "11205": "our hook could not be reached",
    "12100": "our instructions could not be read",
    "12300": "our instructions came as a wrong type",
    "15000": "Twilio failed inside",
    "20500": "Twilio failed inside",
    "20503": "Twilio is out of order",
    "32009": "nobody is registered under this address",
    "32011": "the other side's SIP system could not be reached",
    "32014": "the line was silent until it broke",
    "32016": "the network did not begin to ring in time",
    "32017": "the carrier blocked our number",
}

ERRORS: Mapping[str, Fault] = {
    code: Fault(outcome, text)
    for outcome, rows in (
        (Outcome.RETRY, _RETRY),
        (Outcome.CREDENTIALS, _CREDENTIALS),
        (Outcome.REJECTED, _REJECTED),
        (Outcome.FAILED, _FAILED),
    )
    for code, text in rows.items()
}
"""Twilio's codes as text, each with its meaning."""
