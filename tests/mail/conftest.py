"""Mail servers as fixtures; a test that wants one is skipped, with the reason, where they are not installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from . import servers
from .servers import Certificates, Dovecot, Exim, Route

Relay = Callable[..., Exim]
"""`relay({"customer.example": Route(port)}, login=…)`: a running Exim, as `servers.exim` takes it."""


@pytest.fixture(scope="session")
def mail_tls(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates for the mail servers on 127.0.0.1."""
    if why := servers.missing():
        pytest.skip(why)
    return servers.certificates(tmp_path_factory.mktemp("mail-tls"))


@pytest.fixture(scope="session")
def dovecot(mail_tls: Certificates) -> Iterator[Dovecot]:
    """One for all tests; each makes itself a `user()`."""
    with servers.dovecot(mail_tls) as server:
        yield server


@pytest.fixture
def own_dovecot(mail_tls: Certificates) -> Iterator[Dovecot]:
    """One test's own, to be killed."""
    with servers.dovecot(mail_tls) as server:
        yield server


@pytest.fixture
def relay(mail_tls: Certificates) -> Iterator[Relay]:
    """Starts Exims, and ends them after the test."""
    with ExitStack() as stack:

        def start(routes: dict[str, Route] | None = None, **options: Any) -> Exim:
            return stack.enter_context(servers.exim(mail_tls, routes or {}, **options))

        yield start
