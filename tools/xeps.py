"""The table of supported XEPs in the README, made from what the modules say of themselves.

    python -m xcluster.tools.xeps              prints it
    python -m xcluster.tools.xeps README.md    puts it between the marks in that file

A feature says it in `xeps`, any other module of the node in `XEPS`.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import click

from xcluster import node
from xcluster.node.hooks import Feature, Xep
from xcluster.shared.errors import XclusterError

BEGIN, END = "<!-- xeps -->\n", "<!-- /xeps -->\n"

Row = tuple[Xep, list[str]]  # and the files that implement it


def modules() -> Iterator[ModuleType]:
    """Every module of the node."""
    for found in pkgutil.walk_packages(node.__path__, f"{node.__name__}."):
        yield importlib.import_module(found.name)


def said(module: ModuleType) -> Iterator[Xep]:
    """What a module implements."""
    yield from getattr(module, "XEPS", ())
    for member in vars(module).values():
        if isinstance(member, type) and issubclass(member, Feature) and member.__module__ == module.__name__:
            yield from member.xeps


def rows(found: Iterable[ModuleType]) -> list[Row]:
    """By number, each once; raises XclusterError when a number has two names."""
    by_number: dict[int, Row] = {}
    for module in found:
        path = module.__name__.partition(".")[2].replace(".", "/") + ".py"
        for xep in said(module):
            known, files = by_number.setdefault(xep.number, (xep, []))
            if known != xep:
                raise XclusterError(f"XEP-{xep.number:04} is called {known.name!r} and {xep.name!r}")
            if path not in files:
                files.append(path)
    return [by_number[number] for number in sorted(by_number)]


def table(found: Iterable[Row]) -> str:
    """In Markdown."""
    lines = ["| XEP | name | module |", "|---|---|---|"]
    for xep, files in found:
        number = f"{xep.number:04}"
        links = ", ".join(f"[{file}]({file})" for file in sorted(files))
        lines.append(f"| [{number}](https://xmpp.org/extensions/xep-{number}.html) | {xep.name} | {links} |")
    return "\n".join(lines) + "\n"


def put(text: str, made: str) -> str:
    """The text with the table between its marks; raises XclusterError where they are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise XclusterError(f"the file needs the lines {BEGIN.strip()} and {END.strip()}")
    return before + begin + made + end + after


@click.command()
@click.argument("readme", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(readme: Path | None) -> None:
    """Print the table of supported XEPs, or put it into README."""
    made = table(rows(modules()))
    if readme is None:
        click.echo(made, nl=False)
    else:
        readme.write_text(put(readme.read_text("utf-8"), made), "utf-8")


if __name__ == "__main__":
    main()
