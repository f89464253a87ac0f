"""node/cache.py: what stays, what goes, and which reads are not kept."""

from xcluster.node.cache import ENTRY_BYTES, Cache

SIZE = 100 + ENTRY_BYTES  # of an entry here
SIZES = {"small": 50, "huge": 3 * SIZE}


def filled(keys: str, limit: int) -> Cache[str, str]:
    cache: Cache[str, str] = Cache(limit, lambda key, value: SIZES.get(value, 100))
    for key in keys:
        read(cache, key)
    return cache


def read(cache: Cache[str, str], key: str, value: str = "") -> bool:
    return cache.put(key, value or key.upper(), cache.begin(key))


def kept(cache: Cache[str, str], keys: str) -> str:
    return "".join(key for key in keys if cache.get(key) is not None)


def test_value_that_was_read_is_found_again() -> None:
    cache = filled("a", SIZE)
    assert cache.get("a") == "A"
    assert cache.get("b") is None
    assert (cache.hits, cache.misses, len(cache), cache.bytes) == (1, 1, 1, SIZE)


def test_least_recently_used_goes_first() -> None:
    cache = filled("abc", 3 * SIZE)
    cache.get("a")
    read(cache, "d")
    assert kept(cache, "abcd") == "acd"
    assert (cache.evictions, cache.bytes) == (1, 3 * SIZE)


def test_limit_that_shrinks_evicts_at_once_and_one_that_grows_makes_room() -> None:
    cache = filled("abc", 3 * SIZE)
    cache.limit = 2 * SIZE - 1
    assert (len(cache), cache.bytes, cache.evictions) == (1, SIZE, 2)
    cache.limit = 2 * SIZE
    read(cache, "d")
    assert kept(cache, "abcd") == "cd"
    cache.limit = 0
    assert (len(cache), cache.bytes) == (0, 0)
    assert not read(cache, "a")


def test_value_larger_than_the_limit_is_not_kept_and_evicts_nobody() -> None:
    cache = filled("ab", 2 * SIZE)
    assert not cache.put("c", "huge", cache.begin("c"))
    assert kept(cache, "abc") == "ab"
    assert not cache.put("a", "huge", cache.begin("a"))
    assert cache.get("a") is None  # the old value is not the value any more
    assert cache.bytes == SIZE


def test_new_value_replaces_the_old_one_and_its_bytes() -> None:
    cache = filled("a", 10 * SIZE)
    cache.put("a", "small", cache.begin("a"))
    assert cache.get("a") == "small"
    assert (len(cache), cache.bytes) == (1, 50 + ENTRY_BYTES)


def test_read_that_began_before_an_invalidation_of_its_key_is_not_kept() -> None:
    cache = filled("a", 10 * SIZE)
    stale, other = cache.begin("a"), cache.begin("b")
    cache.invalidate("a")
    fresh = cache.begin("a")
    assert not cache.put("a", "old", stale)
    assert cache.get("a") is None
    assert cache.put("b", "B", other)
    assert cache.put("a", "new", fresh)
    assert not cache.put("a", "old", stale)
    assert cache.get("a") == "new"


def test_read_that_began_before_everything_was_cleared_is_not_kept() -> None:
    cache = filled("ab", 10 * SIZE)
    token = cache.begin("c")
    cache.clear()
    assert (len(cache), cache.bytes) == (0, 0)
    assert not cache.put("c", "C", token)


def test_two_reads_of_a_key_at_once_do_not_void_each_other() -> None:
    cache = filled("", SIZE)
    one, two = cache.begin("a"), cache.begin("a")
    assert cache.put("a", "A", one)
    assert cache.put("a", "A", two)
    assert cache.bytes == SIZE


def test_token_is_good_for_its_key_only() -> None:
    cache = filled("", 10 * SIZE)
    token, other = cache.begin("a"), cache.begin("b")
    assert not cache.put("b", "B", token)
    assert cache.put("b", "B", other)


def test_read_that_failed_leaves_nothing_and_does_not_hinder_the_next() -> None:
    cache = filled("", 10 * SIZE)
    for number in range(1000):
        cache.begin(str(number))  # whoever asked is gone, and its token with it
    assert len(cache._reads) == 0
    assert read(cache, "7")
