"""tools/xeps.py: the README lists just the XEPs that the modules say they implement."""

import re
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from xcluster.node.features import ORDER
from xcluster.node.hooks import Feature, Xep
from xcluster.shared.errors import XclusterError
from xcluster.tools import xeps
from xcluster.tools.xeps import BEGIN, END, main, modules, put, rows, table

README = Path(__file__).parents[2] / "README.md"


def module(name: str, *said: Xep) -> ModuleType:
    made = ModuleType(f"xcluster.{name}")
    made.XEPS = said  # type: ignore[attr-defined]
    return made


def test_readme_has_the_table_that_the_modules_give() -> None:
    text = README.read_text("utf-8")
    assert put(text, table(rows(modules()))) == text, "run python -m xcluster.tools.xeps README.md"


def test_every_feature_and_what_is_no_feature_is_found() -> None:
    found = {xep.number for xep, _ in rows(modules())}
    assert found >= {xep.number for feature in ORDER for xep in feature.xeps}
    assert found >= {368, 440}


def test_xeps_that_the_docstrings_of_features_name_are_in_the_table() -> None:
    found = {xep.number for xep, _ in rows(modules())}
    for feature in ORDER:
        docstring = __import__(feature.__module__, fromlist=["x"]).__doc__ or ""
        named = {int(number) for number in re.findall(r"XEP-(\d{4})", docstring.partition("\n")[0])}
        assert named <= found, feature.__name__


def test_rows_are_sorted_and_each_xep_stands_once_with_all_its_modules() -> None:
    ping = Xep(199, "XMPP Ping")
    made = rows(
        [module("node.b", ping), module("node.a", ping, ping), module("node.c", Xep(30, "Service Discovery"))]
    )
    assert [(xep.number, files) for xep, files in made] == [
        (30, ["node/c.py"]),
        (199, ["node/b.py", "node/a.py"]),
    ]
    assert table(made).splitlines()[2:] == [
        "| [0030](https://xmpp.org/extensions/xep-0030.html) | Service Discovery | [node/c.py](node/c.py) |",
        "| [0199](https://xmpp.org/extensions/xep-0199.html) | XMPP Ping |"
        " [node/a.py](node/a.py), [node/b.py](node/b.py) |",
    ]


def test_feature_that_is_only_imported_is_not_counted_twice() -> None:
    class Here(Feature):
        xeps = (Xep(1, "One"),)

    class Elsewhere(Feature):
        xeps = (Xep(2, "Two"),)

    made = module("node.here")
    Here.__module__ = made.__name__
    made.Here, made.Elsewhere, made.Feature = Here, Elsewhere, Feature  # type: ignore[attr-defined]
    assert [xep.number for xep in xeps.said(made)] == [1]


def test_number_with_two_names_is_refused() -> None:
    with pytest.raises(XclusterError, match="XEP-0199"):
        rows([module("node.a", Xep(199, "XMPP Ping")), module("node.b", Xep(199, "Ping"))])


@pytest.mark.parametrize("text", ["", BEGIN, END, END + BEGIN])
def test_file_without_marks_is_refused(text: str) -> None:
    with pytest.raises(XclusterError):
        put(text, "table\n")


def test_command_prints_the_table_or_puts_it_into_a_file(tmp_path: Path) -> None:
    printed = CliRunner().invoke(main, [])
    assert (printed.exit_code, printed.output) == (0, table(rows(modules())))
    file = tmp_path / "README.md"
    file.write_text(f"before\n{BEGIN}old\n{END}after\n", "utf-8")
    assert CliRunner().invoke(main, [str(file)]).exit_code == 0
    assert file.read_text("utf-8") == f"before\n{BEGIN}{printed.output}{END}after\n"
