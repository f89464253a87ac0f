"""ARCHITECTURE.md, "Where the microseconds go", tells what is so: its stages are measured again, roughly."""

import pytest

from tests.performance import page
from tests.performance.stages import MEASURED, Stages

FACTOR = 2.0  # a stage's share may be off by so much ...
SLACK = 0.01  # ... and by one hundredth of the whole, for the smallest
TRIES = 4

TABLES = page.tables(page.PAGE.read_text(encoding="utf-8"))


def shares(stages: Stages) -> Stages:
    whole = sum(stages.values())
    return {name: cost / whole for name, cost in stages.items()}


def wrong(told: Stages, found: Stages) -> dict[str, tuple[float, float]]:
    """Stages whose share is not what the page says: (said, found)."""
    return {
        name: (round(said, 3), round(found[name], 3))
        for name, said in told.items()
        if not said / FACTOR - SLACK <= found[name] <= said * FACTOR + SLACK
    }


@pytest.mark.parametrize("title", MEASURED)
def test_each_stage_s_share_is_what_the_page_says(title: str) -> None:
    told = TABLES[title]
    still_wrong: dict[str, tuple[float, float]] = {}
    for attempt in range(TRIES):  # a stage that was right once is right: the noise is not the page's fault
        found = MEASURED[title]()
        assert set(found) == set(told), "the page and stages.py name other stages"
        now = wrong(shares(told), shares(found))
        still_wrong = {name: pair for name, pair in now.items() if not attempt or name in still_wrong}
        if not still_wrong:
            return
    pytest.fail(f"{title}: (page, measured) {still_wrong}; `python -m tests.performance.stages` shows all")


def test_page_has_the_tables_that_are_measured() -> None:
    assert set(MEASURED) == set(TABLES)


def test_a_stage_that_has_trebled_is_noticed() -> None:
    told = {"framing": 3.0, "send": 4.0, "delivery": 0.5}
    assert wrong(shares(told), shares(told | {"framing": 4.5})) == {}
    assert list(wrong(shares(told), shares(told | {"delivery": 2.0}))) == ["delivery"]
    assert list(wrong(shares(told), shares(told | {"send": 0.8}))) == ["send"]


TEXT = f"""
{page.HEADING}

Words.

### A table

| stage | where | {page.ALONE} | in the server |
|---|---|---|---|
| framing | `shared/framing.py` | 3.1 | 4 |
| zmq | `bus/sockets.py` | – | 2 |

## Another section

### Not ours

| stage | {page.ALONE} |
|---|---|
| framing | 1 |
"""


def test_tables_are_read_from_their_section_only() -> None:
    assert page.tables(TEXT) == {"A table": {"framing": 3.1}}
