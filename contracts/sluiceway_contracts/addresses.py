"""Addresses as URIs: where somebody is reached, unique over all providers. Knows forms, never owners."""

from __future__ import annotations

import re
from typing import NamedTuple


class InvalidAddress(ValueError):
    """The text is no address of the contract; `text` is what was given, `remedy` says what would do."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(f"not an address: {text!r}; {remedy}")
        self.text = text
        self.remedy = remedy


class Address(NamedTuple):
    """A parsed address. `str()` gives the URI back."""

    scheme: str
    value: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.value}"


_PAIR = r"[A-Za-z0-9._-]{1,64}/[A-Za-z0-9._-]{1,128}"

# scheme: (form of what follows the colon, a sentence for people)
_FORMS: dict[str, tuple[re.Pattern[str], str]] = {
    # RFC 3966, global numbers only, in E.164 (ITU-T): + and at most 15 digits, the first not 0
    "tel": (re.compile(r"\+[1-9][0-9]{1,14}"), "write tel:+ and the number with its country code, at most 15 digits"),
    # RFC 6068 with one address, which is RFC 5321's mailbox without quoting, UTF-8 allowed (RFC 6531)
    "mailto": (
        re.compile(r"[^\s@\"(),:;<>\[\\\]\x00-\x20\x7f]{1,64}@[^\s@\"(),:;<>\[\\\]/?#\x00-\x20\x7f]{1,255}"),
        "write mailto:name@domain",
    ),
    # digits as WhatsApp writes numbers, or a business-scoped user id such as US.13491208655302741918
    "whatsapp": (re.compile(r"[0-9]{5,20}|[A-Z]{2}\.[A-Za-z0-9.]{1,128}"), "write whatsapp: and digits, or a BSUID"),
    "messenger": (re.compile(_PAIR), "write messenger:<page id>/<page-scoped id>"),
    "instagram": (re.compile(_PAIR), "write instagram:<account id>/<Instagram-scoped id>"),
    "telegram": (re.compile(r"-?[0-9]{1,20}"), "write telegram:<chat id>"),
    "slack": (re.compile(_PAIR), "write slack:<team>/<user>"),
    "web": (re.compile(_PAIR), "write web:<site>/<visitor>"),
}
SCHEMES = frozenset(_FORMS)
"""The schemes of version 1; a third party's begins with x- and its provider's name."""
_CUSTOM_SCHEME = re.compile(r"x-[a-z][a-z0-9-]{0,30}")
_CUSTOM = (re.compile(r"[!-~]{1,256}"), "write x-<provider>: and at most 256 printable ASCII characters")


def parse(text: str) -> Address:
    """Read an address URI; the scheme, and a mail address's domain, come back in lower case.

    Raises `InvalidAddress`, which says what would do.
    """
    scheme, colon, value = text.partition(":")
    scheme = scheme.lower()
    if scheme == "mailto":
        local, at, domain = value.rpartition("@")
        value = f"{local}{at}{domain.lower()}"
    form, remedy = _FORMS.get(scheme) or (_CUSTOM if _CUSTOM_SCHEME.fullmatch(scheme) else (None, ""))
    if form is None or not colon:
        raise InvalidAddress(text, f"it starts with one of {', '.join(_FORMS)} or x-<provider>, and a colon")
    if form.fullmatch(value) is None:
        raise InvalidAddress(text, remedy)
    return Address(scheme, value)


def normalise(text: str) -> str:
    """The one spelling of an address URI. Raises `InvalidAddress`."""
    return str(parse(text))


def tel(number: str) -> str:
    """`tel:` address of a telephone number in E.164; spaces, dots, hyphens and parentheses are dropped.

    Raises `InvalidAddress` for a national number: nobody can guess its country.
    """
    return normalise("tel:" + re.sub(r"[ .()\u00a0-]", "", number))


def mailto(mailbox: str) -> str:
    """`mailto:` address of `name@domain`. Raises `InvalidAddress`."""
    return normalise("mailto:" + mailbox.strip())


def build(scheme: str, *ids: str) -> str:
    """An address of any scheme: `build("messenger", page, psid)`. Raises `InvalidAddress`."""
    return normalise(f"{scheme}:{'/'.join(ids)}")
