"""Times of other programs, as corrections have them: UTC, to the second."""

from __future__ import annotations

from datetime import UTC, datetime

_FIRST_YEAR = 1970


def utc(text: object) -> str:
    """Return a time in ISO 8601 in UTC to the second; one without a zone is UTC, and anything else,
    or one before 1970, is ""."""
    if not isinstance(text, str):
        return ""
    try:
        moment = datetime.fromisoformat(text.strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # the year 1, of another zone
        return ""
    return in_utc(moment) if moment.year >= _FIRST_YEAR else ""


def in_utc(moment: datetime) -> str:
    """Return a time that has a zone in UTC to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
