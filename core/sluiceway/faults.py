"""What can be told to be wrong with core's settings before anything is opened. Accounts are not its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .calls.hours import Hours
from .calls.texts import Texts
from .places import authorities_fault, file_fault, host_fault, listen_fault, network_fault, proxy_fault, url_fault
from .sections import Core, Egress, Nats, TenantCalls

Fault = tuple[str, str | None]
"""A setting, and what is wrong with it; None where nothing is."""


def faults(core: Core, is_here: Callable[[str], bool]) -> Iterator[Fault]:
    """Every setting that was looked at. `is_here`: whether the files that a section names need be there."""
    yield "http.listen", listen_fault(core.http.listen)
    yield "probes.listen", listen_fault(core.probes.listen)
    if core.http.public_url is not None:
        yield "http.public_url", url_fault(core.http.public_url, "https", "http")
    for network in core.http.trusted_proxies:
        yield "http.trusted_proxies", network_fault(network)
    for tenant, policy in core.calls.tenants.items():
        yield f"calls.tenants.{tenant}", _calls(policy)
    yield from _nats(core.nats, is_here=is_here("nats"))
    yield from _egress(core.egress, is_here=is_here("egress"))


def _nats(nats: Nats, *, is_here: bool) -> Iterator[Fault]:
    for url in (nats.url or "").split(",") if nats.url else ():
        yield "nats.url", url_fault(url, "nats", "tls", "ws", "wss")
    if not 0 < nats.port <= 65535:
        yield "nats.port", "must be a port, from 1 to 65535"
    for name in ("ca", "certificate", "key", "credentials") if is_here else ():
        if (path := getattr(nats, name)) is not None:
            yield f"nats.{name}", file_fault(path)


def _egress(egress: Egress, *, is_here: bool) -> Iterator[Fault]:
    if egress.proxy is not None:
        yield "egress.proxy", proxy_fault(egress.proxy)
    elif egress.proxy_user is not None or egress.no_proxy:
        yield "egress.proxy", "is missing; add it, as in http://proxy.example:3128"
    if (egress.proxy_user is None) != (egress.proxy_password is None):
        missing = "proxy_user" if egress.proxy_user is None else "proxy_password"
        yield f"egress.{missing}", "is missing; a login has both, proxy_user and proxy_password"
    if ":" in (egress.proxy_user or ""):
        yield "egress.proxy_user", "can't have a colon in it"
    if egress.ca is not None and is_here:
        yield "egress.ca", file_fault(egress.ca) or authorities_fault(egress.ca)
    for host in egress.no_proxy:
        yield "egress.no_proxy", host_fault(host)


def _calls(policy: TenantCalls) -> str | None:
    try:
        Hours(policy)
        Texts(policy.lang, policy.texts)
    except ValueError as error:
        return str(error)
    return None
