"""The origin of a URL (RFC 6454), to tell whose server it names. Resolves nothing; a wrong URL is nobody's."""

from __future__ import annotations

from urllib.parse import urlsplit


def origin(url: str) -> str:
    """Scheme, host and port as they are written, such as `https://api.provider.example`; empty where there is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme}://{host}" if parts.scheme and host else ""
