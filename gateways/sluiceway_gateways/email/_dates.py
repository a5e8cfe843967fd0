"""The Date of a mail: RFC 5322, its obsolete forms, and ISO 8601; None for what is no date."""

from __future__ import annotations

import datetime
import re
from email.utils import parsedate_tz

_COMMENT = re.compile(r"\([^()]{0,200}\)")
_COLON = re.compile(r"\s*:\s*")
_GLUED = re.compile(r"(:\d\d)([+-]\d{4})")


def date(value: str) -> datetime.datetime | None:
    """In UTC; a date without a zone is taken to be."""
    text = _GLUED.sub(r"\1 \2", _COLON.sub(":", _COMMENT.sub(" ", value[:200]).strip()))
    try:
        return _utc(datetime.datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        pass
    try:
        found = parsedate_tz(text)
        if found is None:
            return None
        zone = datetime.timezone(datetime.timedelta(seconds=found[9] or 0))
        return _utc(datetime.datetime(*found[:6], tzinfo=zone))
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _utc(moment: datetime.datetime) -> datetime.datetime:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.astimezone(datetime.UTC)
