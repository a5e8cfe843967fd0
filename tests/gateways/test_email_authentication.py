"""What is believed of Authentication-Results: the trusted server's topmost field, and nothing else."""

from __future__ import annotations

import pytest

from sluiceway_gateways.email._mail import Authentication

from .test_email_hostile import read_bytes

MX = "mx.shop.example"


def found(*fields: str, authserv_id: str = MX) -> Authentication:
    raw = "".join(f"{field}\r\n" for field in fields) + "\r\nHi"
    return read_bytes(raw.encode(), authserv_id=authserv_id).authentication


def results(value: str) -> str:
    return f"Authentication-Results: {value}"


def test_methods_and_the_domains_that_signed_are_read() -> None:
    assert found(
        results(
            f"{MX} 1; spf=pass (sender is 192.0.2.1; really) smtp.mailfrom=customer.example;\r\n"
            " dkim=fail header.d=bad.example; dkim=pass (2048-bit) header.i=@mail.customer.example header.s=s1;\r\n"
            ' dkim=pass header.d="customer.example"; dmarc=pass (p=reject dis=none) header.from=customer.example'
        )
    ) == Authentication(
        by=MX,
        spf="pass",
        dkim="pass",
        dmarc="pass",
        dkim_domains=("mail.customer.example", "customer.example"),
        header_from="customer.example",
    )


def test_nobody_is_trusted_without_an_id() -> None:
    assert found(results(f"{MX}; dmarc=pass"), authserv_id="") == Authentication()
    assert found(results("; dmarc=pass"), authserv_id=" ") == Authentication()


def test_another_servers_results_do_not_count() -> None:
    assert (
        found(results("mx.other.example; dmarc=pass"), results(f"{MX}.other.example; dmarc=pass")) == Authentication()
    )


def test_a_forged_field_below_the_trusted_one_does_not_count() -> None:
    trusted, forged = results(f"{MX}; dmarc=fail"), results(f"{MX}; dmarc=pass; spf=pass; dkim=pass header.d=a.example")
    assert found(trusted, forged) == Authentication(by=MX, dmarc="fail")
    assert found(trusted, "Received: from x", forged) == Authentication(by=MX, dmarc="fail")
    assert found(results("mx.other.example; dmarc=pass"), trusted, forged) == Authentication(by=MX, dmarc="fail")


@pytest.mark.parametrize(
    ("value", "dmarc"),
    [
        (f"{MX.upper()}; DMARC=Pass", "pass"),
        (f'"{MX}"; dmarc=pass', "pass"),
        (f"(; dmarc=pass) {MX}; none", None),
        (f"{MX} (a (nested; dmarc=pass) comment); dmarc/1 = none", "none"),
        (f'{MX}; x=y reason="; dmarc=pass"; dmarc=fail', "fail"),
        (f'{MX}; x=y reason="a\\"; dmarc=pass"; dmarc=fail', "fail"),
        (f"{MX}; x=y (unclosed; dmarc=pass", None),
        (f"{MX}; x=y ) ; dmarc=fail", "fail"),
        (f"{MX}; dmarc=fail; dmarc=pass", "fail"),
        (f"{MX}; dmarc=pass.example", None),
        (f"{MX}; xdmarc=pass; reason=dmarc=pass", None),
        (f"{MX}; dmarc", None),
        (f"{MX}", None),
    ],
)
def test_no_spelling_deceives(value: str, dmarc: str | None) -> None:
    assert found(results(value)) == Authentication(by=MX, dmarc=dmarc)


def test_a_signature_without_a_domain_names_none() -> None:
    assert found(results(f"{MX}; dkim=pass header.b=abc")) == Authentication(by=MX, dkim="pass")
