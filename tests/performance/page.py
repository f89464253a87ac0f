"""The tables of ARCHITECTURE.md, "Where the microseconds go", as the page has them."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "ARCHITECTURE.md"
HEADING = "## Where the microseconds go"
ALONE = "alone"  # the column that can be measured again


def tables(text: str) -> dict[str, dict[str, float]]:
    """For each table under a `###` heading: stage -> microseconds alone; rows with "–" there are left out."""
    _, _, section = text.partition(f"\n{HEADING}\n")
    section = section.partition("\n## ")[0]
    found = {}
    for part in section.split("\n### ")[1:]:
        title, _, body = part.partition("\n")
        rows = [_cells(line) for line in body.splitlines() if line.startswith("|")]
        if rows and ALONE in rows[0]:
            column = rows[0].index(ALONE)
            found[title] = {row[0]: float(row[column]) for row in rows[2:] if _is_number(row[column])}
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", cell) is not None
