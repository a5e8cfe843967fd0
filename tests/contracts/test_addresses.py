"""Addresses: one spelling for each, and a remedy for what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway_contracts import Address, InvalidAddress, addresses


class TestNormalise:
    @pytest.mark.parametrize(
        ("given", "wanted"),
        [
            ("tel:+447700900123", "tel:+447700900123"),
            ("TEL:+447700900123", "tel:+447700900123"),
            ("mailto:Sam.O'Kafor+shop@Customer.EXAMPLE", "mailto:Sam.O'Kafor+shop@customer.example"),
            ("mailto:用户@例子.example", "mailto:用户@例子.example"),
            ("whatsapp:447700900123", "whatsapp:447700900123"),
            ("whatsapp:GB.13491208655302741918", "whatsapp:GB.13491208655302741918"),
            ("messenger:104829/5520011", "messenger:104829/5520011"),
            ("instagram:17841400000000000/99887766", "instagram:17841400000000000/99887766"),
            ("telegram:-1001234567890", "telegram:-1001234567890"),
            ("slack:T024BE7LD/U2147483697", "slack:T024BE7LD/U2147483697"),
            ("web:shop/3f1c9a77e2", "web:shop/3f1c9a77e2"),
            ("x-line:U4af4980629", "x-line:U4af4980629"),
        ],
    )
    def test_gives_each_address_one_spelling(self, given: str, wanted: str) -> None:
        assert addresses.normalise(given) == wanted

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "447700900123",
            "tel",
            "tel:",
            "tel:07700900123",
            "tel:+0770090012",
            "tel:+4477009001234567",
            "tel:+447700900123\n",
            "tel:+44770090012٣",
            "mailto:nobody",
            "mailto:a@b@c.example",
            "mailto:a b@customer.example",
            "mailto:<a@customer.example>",
            "mailto:a@customer.example?subject=x",
            "whatsapp:gb.1349",
            "messenger:5520011",
            "slack:T1/U1/extra",
            "telegram:sam",
            "x-:1",
            "x-line:",
            "x-line:ü",
            "fax:+441632960001",
            "javascript:alert(1)",
        ],
    )
    def test_refuses_what_is_none_and_says_what_would_do(self, text: str) -> None:
        with pytest.raises(InvalidAddress) as refused:
            addresses.normalise(text)
        assert refused.value.text == text
        assert refused.value.remedy in str(refused.value)

    @given(st.text() | st.from_regex(r"(tel|mailto|whatsapp|web|slack|x-a):[ -~]{0,40}", fullmatch=True))
    def test_twice_is_the_same_as_once(self, text: str) -> None:
        try:
            once = addresses.normalise(text)
        except InvalidAddress:
            return
        assert addresses.normalise(once) == once
        assert str(addresses.parse(once)) == once

    @given(st.from_regex(r"\+[1-9][0-9]{1,14}", fullmatch=True))
    def test_keeps_every_number_of_e_164(self, number: str) -> None:
        assert addresses.parse(f"tel:{number}") == Address("tel", number)


def test_a_telephone_number_may_be_written_as_people_do() -> None:
    assert addresses.tel("+44 (7700) 900-123") == "tel:+447700900123"
    assert addresses.tel("+44\u00a07700.900.123") == "tel:+447700900123"


def test_a_national_number_is_refused_because_nobody_can_guess_its_country() -> None:
    with pytest.raises(InvalidAddress, match="country code"):
        addresses.tel("07700 900123")


def test_a_mailbox_loses_the_space_around_it_and_its_domain_becomes_lower_case() -> None:
    assert addresses.mailto(" Sam@Customer.Example ") == "mailto:Sam@customer.example"


def test_an_address_is_built_of_the_ids_that_it_is_scoped_to() -> None:
    assert addresses.build("messenger", "104829", "5520011") == "messenger:104829/5520011"
    with pytest.raises(InvalidAddress):
        addresses.build("messenger", "104829/7", "5520011")
