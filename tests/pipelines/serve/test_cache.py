"""What a cache keeps, and what it gives up."""

from __future__ import annotations

from florilegium.pipelines.serve.cache import Cache


def test_what_was_used_longest_ago_goes_first() -> None:
    made: list[str] = []

    def make(key: str) -> str:
        return cache.get(key, lambda: made.append(key) or key)

    cache: Cache[str, str] = Cache(most=4, size_of=len)
    for key in ("aa", "bb", "aa", "cc", "aa", "bb"):
        assert make(key) == key
    assert made == ["aa", "bb", "cc", "bb"]
    assert len(cache) == 2


def test_a_value_that_is_larger_than_all_room_is_kept_alone() -> None:
    cache: Cache[str, str] = Cache(most=4, size_of=len)
    cache.get("small", lambda: "s")
    assert cache.get("large", lambda: "l" * 9) == "l" * 9
    assert len(cache) == 1
