"""Number variants of Brazil, Argentina and Mexico are one address; everybody else's numbers are left alone.

None of the three countries reserves numbers for fiction: those here are the examples that libphonenumber publishes
(resources/PhoneNumberMetadata.xml), or made of 1234567.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sluiceway.spellings import canonical, variants
from sluiceway_contracts import addresses

BRAZIL_AREAS = [
    *range(11, 20),
    *(21, 22, 24, 27, 28),
    *(31, 32, 33, 34, 35, 37, 38),
    *range(41, 50),
    *(51, 53, 54, 55),
    *range(61, 70),
    *(71, 73, 74, 75, 77, 79),
    *range(81, 90),
    *range(91, 100),
]
ONE = {
    "Brazil: a mobile number with and without the ninth digit": ("5511961234567", "551161234567"),
    "Brazil: as WhatsApp writes it in Minas Gerais": ("5531987654321", "553187654321"),
    "Brazil: a mobile number that begins with 9 twice": ("5585991234567", "558591234567"),
    "Brazil: an old number that began with 7": ("5511971234567", "551171234567"),
    "Argentina: Buenos Aires with the 9, with the 15, with both, with neither": (
        "541123456789",
        "5491123456789",
        "54111523456789",
        "549111523456789",
    ),
    "Argentina: an area of three digits": ("542234567890", "5492234567890", "54223154567890", "549223154567890"),
    "Argentina: an area of four digits": ("542954123456", "5492954123456", "54295415123456", "549295415123456"),
    "Argentina: a number with a 15 of its own": ("541115123456", "5491115123456", "54111515123456"),
    "Argentina: an area of four digits that ends in 1": ("542221512345", "54222115512345"),
    "Mexico: with and without the 1 of before 2019": ("522221234567", "5212221234567"),
    "Mexico: Mexico City": ("525512345678", "5215512345678"),
}
TWO = {
    "Brazil: a landline is not a mobile number without its 9": ("551123456789", "5511923456789"),
    "Brazil: a new mobile number is not the landline that it would be without its 9": ("5511951234567", "551151234567"),
    "Brazil: two areas": ("5511961234567", "5521961234567"),
    "Argentina: two lines": ("541123456789", "5491123456780"),
    "Argentina: a number with a 15 in it is not the shorter one": ("541115123456", "5411123456"),
    "Argentina: freephone has no mobile lines": ("548001234567", "5498001234567"),
    "Mexico: a number that is one digit short": ("52222123456", "521222123456"),
}
SAME = {
    "Brazil: a landline": "551123456789",
    "Brazil: a landline that begins with 5": "551151234567",
    "Brazil: a new mobile number that can't have had eight digits": "5511951234567",
    "Brazil: freephone": "558001234567",
    "Brazil: no such area": "5523961234567",
    "Brazil: too long": "55119961234567",
    "Argentina: freephone": "548001234567",
    "Argentina: the trunk prefix 0": "5401123456789",
    "Argentina: 15 where no area ends": "54221514567890",
    "Mexico: too long": "52122212345678",
    "Mexico: no national number begins with 1": "521221234567",
    "a number that only ends like one": "15511961234567",
    "Great Britain": "447700900123",
    "North America, where a 1 comes first": "15205550123",
    "Colombia, of ten digits too": "573211234567",
    "Paraguay, which begins as Brazil's neighbour": "595961456789",
}

digits = st.text("0123456789", min_size=5, max_size=13)
numbers = st.one_of(
    digits,
    st.builds("{}{}".format, st.sampled_from(["52", "54", "55"]), digits),
    st.from_regex(r"52(1)?[2-9][0-9]{9}", fullmatch=True),
    st.from_regex(r"54(9)?(11(15)?[0-9]{8}|[23][0-9]{2}(15)?[0-9]{7}|[23][0-9]{3}15[0-9]{6})", fullmatch=True),
    st.builds("55{}{}".format, st.sampled_from(BRAZIL_AREAS), st.from_regex("9?[2-9][0-9]{7}", fullmatch=True)),
)
written = st.builds("{}{}".format, st.sampled_from(["tel:+", "whatsapp:"]), numbers)


@pytest.mark.parametrize("scheme", ["tel:+", "whatsapp:"])
class TestNumbers:
    @pytest.mark.parametrize("spellings", ONE.values(), ids=ONE)
    def test_in_several_spellings_are_one(self, scheme: str, spellings: tuple[str, ...]) -> None:
        assert len({canonical(scheme + spelling) for spelling in spellings}) == 1

    @pytest.mark.parametrize("pair", TWO.values(), ids=TWO)
    def test_that_only_look_alike_stay_two(self, scheme: str, pair: tuple[str, str]) -> None:
        one, other = (canonical(scheme + spelling) for spelling in pair)
        assert one != other

    @pytest.mark.parametrize("number", SAME.values(), ids=SAME)
    def test_with_one_spelling_are_left_as_they_are(self, scheme: str, number: str) -> None:
        assert canonical(scheme + number) == scheme + number
        assert variants(scheme + number) == (scheme + number,)


class TestCanonical:
    @given(address=written | st.text())
    def test_twice_is_the_same_as_once(self, address: str) -> None:
        assert canonical(canonical(address)) == canonical(address)

    @given(address=written)
    def test_keeps_the_scheme_and_the_country(self, address: str) -> None:
        assume(not address.startswith("tel:+0"))
        found = addresses.parse(canonical(address))
        given = addresses.parse(address)
        assert found.scheme == given.scheme
        assert found.value.lstrip("+")[:2] == given.value.lstrip("+")[:2]

    def test_of_a_telephone_and_of_whatsapp_are_two_addresses(self) -> None:
        assert canonical("tel:+5531987654321") == "tel:+5531987654321"
        assert canonical("whatsapp:553187654321") == "whatsapp:5531987654321"

    @given(address=written)
    def test_changes_no_number_of_another_country(self, address: str) -> None:
        of_the_three = re.match(r"(tel:\+|whatsapp:)5[245]", address)
        assert of_the_three or canonical(address) == address

    @pytest.mark.parametrize("area", BRAZIL_AREAS)
    @pytest.mark.parametrize("first", "2345")
    def test_changes_no_landline_of_brazil(self, area: int, first: str) -> None:
        assert canonical(f"tel:+55{area}{first}1234567") == f"tel:+55{area}{first}1234567"

    @pytest.mark.parametrize("area", BRAZIL_AREAS)
    @pytest.mark.parametrize("first", "6789")
    def test_knows_the_mobile_numbers_of_every_area_of_brazil(self, area: int, first: str) -> None:
        assert canonical(f"whatsapp:55{area}{first}1234567") == f"whatsapp:55{area}9{first}1234567"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "tel:",
            "5511961234567",
            "whatsapp:BR.551161234567",
            "whatsapp:+551161234567",
            "tel:551161234567",
            "tel:+551161234567\n",
            "tel:+55 11 6123-4567",
            "tel:+5511٦1234567",
            "sip:551161234567",
            "mailto:551161234567@customer.example",
            "telegram:551161234567",
            "x-line:551161234567",
        ],
    )
    def test_of_anything_else_is_the_text_itself(self, text: str) -> None:
        assert canonical(text) == text
        assert variants(text) == (text,)


class TestVariants:
    @given(address=written | st.text())
    def test_are_told_once_each_the_canonical_first_and_the_given_one_among_them(self, address: str) -> None:
        found = variants(address)
        assert found[0] == canonical(address)
        assert address in found
        assert len(set(found)) == len(found)

    @given(address=written)
    def test_share_one_canonical_spelling_and_have_the_same_variants(self, address: str) -> None:
        for variant in variants(address):
            assert canonical(variant) == canonical(address)
            assert variants(variant) == variants(address)

    @given(address=written)
    def test_are_addresses(self, address: str) -> None:
        assume(not address.startswith("tel:+0"))
        for variant in variants(address):
            assert addresses.normalise(variant) == variant

    def test_of_an_argentine_number_try_both_lengths_of_its_area(self) -> None:
        assert variants("whatsapp:5492234567890") == (
            "whatsapp:542234567890",
            "whatsapp:54223154567890",
            "whatsapp:54223415567890",
            "whatsapp:5492234567890",
            "whatsapp:549223154567890",
            "whatsapp:549223415567890",
        )
