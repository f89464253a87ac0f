"""node/features/__init__.py: every feature is listed once, and they are run in that order."""

import importlib
import pkgutil
from typing import Any

import pytest

from xcluster.node import features
from xcluster.node.features import ORDER, in_order
from xcluster.node.hooks import Feature


def defined() -> set[type[Feature]]:
    """All feature classes in the modules of the package."""
    found: set[type[Feature]] = set()
    for info in pkgutil.iter_modules(features.__path__):
        module = importlib.import_module(f"{features.__name__}.{info.name}")
        found |= {
            one
            for one in vars(module).values()
            if isinstance(one, type) and issubclass(one, Feature) and one.__module__ == module.__name__
        }
    return found


def built() -> list[Feature]:
    return [one.__new__(one) for one in ORDER]


def test_order_lists_every_feature_once() -> None:
    assert set(ORDER) == defined()
    assert len(set(ORDER)) == len(ORDER)


def test_package_offers_every_feature_by_name() -> None:
    assert {one.__name__ for one in ORDER} <= set(features.__all__)


def test_built_features_are_sorted_into_the_order() -> None:
    some = built()
    assert in_order(some[::-1]) == some


@pytest.mark.parametrize("change", ["missing", "twice", "unlisted"])
def test_other_features_than_listed_are_refused(change: str) -> None:
    class Unlisted(Feature):
        pass

    changes: dict[str, Any] = {
        "missing": built()[1:],
        "twice": [*built(), built()[0]],
        "unlisted": [*built(), Unlisted()],
    }
    with pytest.raises(TypeError):
        in_order(changes[change])
