"""The Cloud API's error codes that a message can meet, by what they mean for it; not those of set-up and calls.

https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes. `code/subcode` goes
before `code`. What only one recipient, country or template meets is REJECTED or FAILED, never CREDENTIALS: that pauses
the account. A code that is not here is REJECTED by an answer and FAILED in a receipt; 1 is left out, as it may be
Meta's fault or ours: the HTTP status tells.
"""

from __future__ import annotations

from collections.abc import Mapping

from sluiceway import Fault, Outcome

# Meta says that it took nothing, and that the same may work later.
_RETRY = {
    "2": "Meta is down or overloaded",
    "4": "the app's rate of requests was exceeded",
    "80007": "the WhatsApp Business Account's rate of requests was exceeded",
    "130429": "the number's rate of messages was exceeded",
    "131000": "Meta failed and does not say why; it was not sent",
    "131016": "a service of Meta's is out of order for a moment",
    "131048": "the number is held back, since too many recipients blocked or reported it",
    "131056": "too many messages from this number to this recipient within a short time",
    "131057": "the business account is under maintenance, or its throughput is being raised",
    "133004": "Meta's server is out of order for a moment",
}

_OPTED_OUT = {
    "131050": "the recipient has stopped marketing messages from this business",
}

_WINDOW_CLOSED = {
    "131047": "outside the 24 hours in which free text is allowed; use a template",
}

# Nothing can be sent with this token or from this number until somebody acts.
_CREDENTIALS = {
    "0": "Meta can't authenticate the app's user: the access token is no longer valid",
    "3": "the app lacks a capability or a permission",
    "10": "the permission whatsapp_business_messaging was not granted, or was taken back",
    "33": "the business phone number is unknown or was deleted",
    "190": "the access token has expired or was revoked",
    **{str(code): "a permission was not granted, or was taken back" for code in range(200, 300)},
    "368": "the business account is blocked for a breach of Meta's policy",
    "401": "Meta does not accept the credentials",
    "403": "Meta refuses the account",
    "131005": "a permission was not granted, or was taken back",
    "131031": "the business account is locked",
    "131037": "the number's display name is not approved",
    "131042": "the business account's payment method has a problem",
    "131045": "the number's registration has a problem",
    "131064": "the account's limit is reached, for templates in a wrong category",
    "133010": "the number is not registered with the Cloud API",
}

_REJECTED = {
    "100": "a parameter is unknown or misspelled",
    "100/33": "Meta has nothing by this id, or nothing that this token may use",
    "130497": "the business may not write to people in this country",
    "131008": "a required parameter is missing",
    "131009": "a parameter has a value that Meta does not take",
    "131020": "the group has only one member",
    "131021": "sender and recipient are the same number",
    "131030": "the recipient is not on the test number's list of allowed numbers",
    "131041": "the group is unknown, or the number is not in it",
    "131051": "Meta does not support this type of message",
    "131053": "the media could not be fetched or taken: look at its address, type and size",
    "131055": "the method is not allowed",
    "131062": "this message can't go to a business-scoped user id",
    "131063": "marketing templates are switched off for the Cloud API",
    "132000": "the number of parameters is not the template's",
    "132001": "the template does not exist in this language, or is not approved",
    "132005": "the template's text with its parameters is too long",
    "132007": "the template breaks Meta's policy",
    "132008": "a template parameter has a value that Meta does not take",
    "132012": "a template parameter has the wrong format",
    "132015": "the template is paused for its quality",
    "132016": "the template is disabled for its quality",
    "132018": "a template parameter is wrong",
    "132068": "the flow is blocked",
    "132069": "the flow is throttled: ten messages with it went out within the hour",
    "135000": "Meta failed over the request's parameters",
    "137000": "the recipient's identity has changed since it was confirmed",
}

# Taken, or not: not delivered to this recipient.
_FAILED = {
    "130472": "the recipient is in an experiment of Meta's, and gets no marketing messages",
    "131026": "it can't be delivered: no WhatsApp number, an old version, or terms that were not accepted",
    "131049": "Meta did not deliver it, to limit how much marketing the recipient gets",
    "131052": "the media that the customer sent could not be fetched",
}

ERRORS: Mapping[str, Fault] = {
    code: Fault(outcome, text, "marketing" if code in _OPTED_OUT else "all")
    for outcome, codes in (
        (Outcome.RETRY, _RETRY),
        (Outcome.OPTED_OUT, _OPTED_OUT),
        (Outcome.WINDOW_CLOSED, _WINDOW_CLOSED),
        (Outcome.CREDENTIALS, _CREDENTIALS),
        (Outcome.REJECTED, _REJECTED),
        (Outcome.FAILED, _FAILED),
    )
    for code, text in codes.items()
}
"""By `code` or `code/subcode`, as text."""
