"""Times of other programs, as corrections have them: UTC, to the second."""

from __future__ import annotations

from datetime import UTC, datetime


def utc(text: object) -> str:
    """Return a time in ISO 8601 in UTC to the second; one without a zone is UTC, and anything else
    is ""."""
    if not isinstance(text, str):
        return ""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return ""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return in_utc(moment)


def in_utc(moment: datetime) -> str:
    """Return a time that has a zone in UTC to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
