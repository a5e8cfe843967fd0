"""What the trusted server found about a mail's sender, read from Authentication-Results (RFC 8601); it checks nothing.

The rule: of the header fields that name the trusted authserv-id, the topmost counts and no other. A server adds its
field above all that came with the mail, so that a forged one lies below; the standard (5) asks it to remove those too.
Where the id is none, or the server adds no field, nothing is known: let it add one to every mail.
"""

from __future__ import annotations

import re

from ._headers import Headers
from ._mail import Authentication

MAX_CHARS = 20_000
MAX_RESULTS = 50
_RESULT = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]{0,40})(?:\s*/\s*\d{1,3})?\s*=\s*([A-Za-z]{1,20})(?=\s|$)")
_PROPERTY = re.compile(r"\s([a-z]{1,20})\s*\.\s*([A-Za-z][A-Za-z0-9_-]{0,40})\s*=\s*(\"[^\"]{0,300}\"|[^\s;\"]{1,300})")


def authentication(headers: Headers, authserv_id: str) -> Authentication:
    """The results of the server of this id; an empty one trusts nobody."""
    wanted = authserv_id.strip().lower()
    for value in headers.raw("authentication-results"):
        name, *results = _pieces(value[:MAX_CHARS])
        if wanted and name.split()[:1] == [wanted]:
            return _read(wanted, results[:MAX_RESULTS])
    return Authentication()


def _read(by: str, results: list[str]) -> Authentication:
    found: dict[str, str] = {}
    domains: list[str] = []
    header_from = None
    for result in results:
        match = _RESULT.match(result)
        if match is None:
            continue
        method, value = match[1].lower(), match[2].lower()
        if method == "dkim" and value == "pass":
            domains += _domains(result[match.end() :])
        if method == "dmarc" and method not in found:
            header_from = _properties(result[match.end() :]).get("header.from")
        if method not in found or (method == "dkim" and value == "pass"):
            found[method] = value
    return Authentication(
        by=by,
        spf=found.get("spf"),
        dkim=found.get("dkim"),
        dmarc=found.get("dmarc"),
        dkim_domains=tuple(dict.fromkeys(domains)),
        header_from=header_from,
    )


def _domains(properties: str) -> list[str]:
    """Of a signature: header.d, else what follows the @ in header.i."""
    named = _properties(properties)
    domain = named.get("header.d") or named.get("header.i", "").rpartition("@")[2]
    return [domain] if domain else []


def _properties(result: str) -> dict[str, str]:
    return {f"{kind}.{name}".lower(): value.strip('"').lower() for kind, name, value in _PROPERTY.findall(result)}


def _pieces(value: str) -> list[str]:
    """What stands between semicolons, in lower case only the first; comments are left out, quoted strings whole."""
    pieces, piece = list[str](), list[str]()
    depth, quoted, escaped = 0, False, False
    for char in value:
        if escaped:
            escaped = False
        elif char == "\\" and (quoted or depth):
            escaped = True
            continue
        elif char == '"' and not depth:
            quoted = not quoted
        elif not quoted and char == "(":
            depth += 1
            continue
        elif not quoted and char == ")":
            depth = max(depth - 1, 0)
            piece.append(" ")
            continue
        elif char == ";" and not quoted and not depth:
            pieces.append("".join(piece))
            piece = []
            continue
        if not depth:
            piece.append(char)
    pieces.append("".join(piece))
    return [pieces[0].strip().strip('"').lower(), *pieces[1:]]
