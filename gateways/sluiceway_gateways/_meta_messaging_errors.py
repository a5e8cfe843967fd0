"""The error codes that a message on Messenger or Instagram can meet, by what they mean for it; not those of set-up.

https://developers.facebook.com/docs/messenger-platform/error-codes and, for the limits of the Graph API,
https://developers.facebook.com/docs/graph-api/overview/rate-limiting. `code/subcode` goes before `code`. What only one
recipient meets is REJECTED or FAILED, never CREDENTIALS: that pauses the account. A code that is not here is REJECTED;
1 is left out, as it may be Meta's fault or ours: the HTTP status tells.
"""

from __future__ import annotations

from collections.abc import Mapping

from sluiceway import Fault, Outcome

# Meta says that it took nothing, and that the same may work later.
_RETRY = {
    "2": "Meta is down or overloaded",
    "4": "the app's rate of requests was exceeded",
    "17": "the rate of requests was exceeded",
    "32": "the page's rate of requests was exceeded",
    "613": "the rate of messages was exceeded",
    "1200": "Meta could not send it for a moment",
    "80002": "the Instagram account's rate of requests was exceeded",
    "80006": "the page's rate of messages was exceeded",
}

# 2534022 is Instagram's: https://github.com/ComposioHQ/composio/issues/3604
_WINDOW_CLOSED = {
    "10/2018065": "outside the 24 hours in which an answer is allowed",
    "10/2018278": "outside the 24 hours in which an answer is allowed",
    "10/2534022": "outside the 24 hours in which an answer is allowed",
}

# Nothing can be sent with this token or from this page until somebody acts.
_CREDENTIALS = {
    "0": "Meta can't authenticate the app's user: the access token is no longer valid",
    "3": "the app lacks a capability or a permission",
    "10": "a permission was not granted, or was taken back",
    "190": "the access token has expired or was revoked",
    **{str(code): "a permission was not granted, or was taken back" for code in range(200, 300)},
    "368": "the page is blocked for a breach of Meta's policy",
    "401": "Meta does not accept the credentials",
    "403": "Meta refuses the account",
}

# 2018300: https://github.com/davidchua/pymessenger/issues/93
_REJECTED = {
    "10/2018300": "another app has the conversation: it must hand it over first",
    "100": "a parameter is missing, unknown or has a value that Meta does not take",
    "100/2018001": "nobody with this id has written to this page",
    "100/2018109": "the file is larger than Meta takes",
    "100/2534014": "nobody with this id has written to this account",
    "200/2018028": "without Advanced Access only people with a role in the app can be written to",
}

_FAILED = {
    "200/1545041": "the recipient takes no messages from this page",
    "551": "the recipient is not available: the account is gone, or has blocked the page",
}

ERRORS: Mapping[str, Fault] = {
    code: Fault(outcome, text)
    for outcome, codes in (
        (Outcome.RETRY, _RETRY),
        (Outcome.WINDOW_CLOSED, _WINDOW_CLOSED),
        (Outcome.CREDENTIALS, _CREDENTIALS),
        (Outcome.REJECTED, _REJECTED),
        (Outcome.FAILED, _FAILED),
    )
    for code, text in codes.items()
}
"""By `code` or `code/subcode`, as text."""
