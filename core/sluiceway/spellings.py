"""One spelling for telephone numbers of Brazil, Argentina and Mexico that are in use in several; no other is touched.

`canonical` is for keys, under which an address is looked up, and never for sending: which spelling reaches somebody,
only the provider knows. It looks at forms alone, not at who holds a number, and joins no two schemes: tel: and
whatsapp: stay two addresses.

Brazil. Mobile numbers got a ninth digit, a 9 in front, area by area from 2012 to 2016. Those of eight digits began
with 6, 7, 8 or 9, and fixed lines keep eight digits, beginning with 2 to 5. WhatsApp goes on writing most numbers
without the 9, but for the areas 11 to 28. So eight digits are lengthened only where they can't be a fixed line, and
nine are never cut: 9 5123-4567 is a mobile number, 5123-4567 somebody's fixed line.
The risk: trunked radio numbers, eight digits from 7 on, were left out of the change; one of them would be joined with
the mobile number that has a 9 more.

Argentina. Fixed and mobile lines share one space of ten digits, area and number, which is how the regulator allots
them in blocks. From abroad a 9 before the area marks a call to a mobile line, within the country a 15 after the area;
text messages go to the ten digits alone, and WhatsApp's ids have the 9. Thus the 9 and the 15 say how to call, and the
ten digits say whom. A 15 is taken for the prefix only in a number of twelve digits, which no line has; its place tells
the length of the area, as at no two places it can stand at once.
The risk: nothing but the regulator's allotment keeps a fixed and a mobile line from having the same ten digits. Should
two have them after all, a message from one would be filed with the other's.

Mexico. Until August 2019 a 1 after the country code marked a call to a mobile line; since then all national numbers
are the same ten digits for everybody, each of them unique. WhatsApp's ids may still have the 1. No national number
begins with 1, thus there is no risk in leaving it out.

Sources:
Brazil: Anatel's communication of 6.II.2013 in ITU's Operational Bulletin, https://www.itu.int/pub/T-SP-OB;
https://waha.devlike.pro/docs/apps/brazilian-phone-numbers/ for what WhatsApp writes.
Argentina: https://en.wikipedia.org/wiki/Telephone_numbers_in_Argentina;
http://servicios.infoleg.gob.ar/infolegInternet/anexos/50000-54999/50955/norma.htm, where mobile lines are allotted
what is free in an area; https://github.com/google/libphonenumber/blob/master/resources/metadata/54/ranges.csv, where
every area is «fixed line or mobile».
Mexico: IFT's communication of 12.VI.2018, https://ituob.org/issues/1151-en;
https://www.commsupdate.com/articles/2019/07/18/mexico-to-introduce-10-digit-phone-numbers-on-3-august/.
WhatsApp on Argentina's 9 and Mexico's 1: https://faq.whatsapp.com/1294841057948784.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_NUMBER = re.compile(r"(tel:\+|whatsapp:)(5[245])([0-9]{10,13})")

_BRAZIL = re.compile(
    r"(1[1-9]|2[12478]|3[1-578]|4[1-9]|5[1345]|6[1-9]|7[134579]|8[1-9]|9[1-9])"  # Anatel's national codes
    r"9?([6-9][0-9]{7})"
)
_ARGENTINA = re.compile(
    r"9?(?:(11)(?:15)?([0-9]{8})|([23][0-9]{2})15([0-9]{7})|([23][0-9]{3})15([0-9]{6})|([23][0-9]{9}))"
)
_MEXICO = re.compile(r"1?([2-9][0-9]{9})")


def canonical(address: str) -> str:
    """The one spelling of an address URI that all its variants share; any other text comes back as it is."""
    return variants(address)[0]


def variants(address: str) -> tuple[str, ...]:
    """Every spelling that counts as this address, the canonical one first; of most addresses there is only one."""
    number = _NUMBER.fullmatch(address)
    if number is None:
        return (address,)
    scheme, country, national = number.groups()
    spellings = _COUNTRIES[country](national) or (national,)
    return tuple(f"{scheme}{country}{spelling}" for spelling in spellings)


def _brazil(national: str) -> tuple[str, ...]:
    number = _BRAZIL.fullmatch(national)
    if number is None:
        return ()
    area, subscriber = number.groups()
    return f"{area}9{subscriber}", f"{area}{subscriber}"


def _argentina(national: str) -> tuple[str, ...]:
    number = _ARGENTINA.fullmatch(national)
    if number is None:
        return ()
    ten = "".join(group for group in number.groups() if group is not None)
    areas = (2,) if ten.startswith("11") else (3, 4)
    spellings = (ten, *[f"{ten[:area]}15{ten[area:]}" for area in areas])
    return (*spellings, *[f"9{spelling}" for spelling in spellings])


def _mexico(national: str) -> tuple[str, ...]:
    number = _MEXICO.fullmatch(national)
    return () if number is None else (number[1], f"1{number[1]}")


_COUNTRIES: dict[str, Callable[[str], tuple[str, ...]]] = {"52": _mexico, "54": _argentina, "55": _brazil}
"""By ITU-T E.164's country code."""
