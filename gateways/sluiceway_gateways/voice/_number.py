"""The account of voice.twilio: a number of ours, and how those who call it are served. Calls nobody."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from sluiceway import Account
from sluiceway_contracts import InvalidAddress, addresses

from ._phrases import Phrases

Lang = Annotated[str, Meta(pattern="^[a-zA-Z]{2,3}(-[a-zA-Z0-9]{2,8})*$")]


class Number(Account, frozen=True, kw_only=True):
    """A number. Whoever calls it waits for an agent with `skill`, and is spoken to in `lang` (BCP 47).

    `operator` are the addresses of telephones that are called besides agents when somebody asks for a person. Without
    `voicemail` nobody can leave a message. `phrases` replace what is said, by their names in `_phrases`.
    """

    skill: str = ""
    lang: Lang = "en-GB"
    operator: tuple[str, ...] = ()
    voicemail: bool = True
    phrases: dict[str, str] = {}

    def __post_init__(self) -> None:
        for address in (self.address, *self.operator):
            if plain(address) is None:
                raise ValueError(f"{address} can't be called: write tel:+ and the number with its country code")
        Phrases(self.lang, self.phrases)

    @property
    def words(self) -> Phrases:
        """What is said on this number."""
        return Phrases(self.lang, self.phrases)


def plain(address: str | None) -> str | None:
    """The number of a tel: address, as Twilio writes it; None for what can't be called."""
    try:
        scheme, value = addresses.parse(address or "")
    except InvalidAddress:
        return None
    return value if scheme == "tel" else None


def callable_numbers(*found: str) -> tuple[str, ...]:
    """The numbers of these addresses, each once, as many as Twilio rings at the same time."""
    numbers = (plain(address) for address in found)
    return tuple(dict.fromkeys(number for number in numbers if number is not None))[:10]
