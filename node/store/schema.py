"""The schema's versions: `migrations/NNNN_name.sql`, applied in order, each in a transaction.

The applied version stands in the table `schema_version`. To change the schema, add a file; never edit one
that was released.
"""

from importlib.resources import files
from string import Template

from xcluster.node.store.connection import Connection
from xcluster.shared.errors import StoreError


def migrations() -> list[tuple[int, str]]:
    """(version, SQL) of every migration there is, from the first."""
    found = [
        (int(file.name.partition("_")[0]), file.read_text("utf-8"))
        for file in files("xcluster.node.store").joinpath("migrations").iterdir()
        if file.name.endswith(".sql")
    ]
    return sorted(found)


def statements(sql: str, types: dict[str, str]) -> list[str]:
    """The statements of one migration in the words of one database."""
    lines = [line for line in sql.splitlines() if not line.strip().startswith("--")]
    text = Template("\n".join(lines)).substitute(types)
    return [statement.strip() for statement in text.split(";") if statement.strip()]


def upgrade(db: Connection) -> tuple[int, int]:
    """Bring the schema up to date; returns the versions before and after.

    Several processes may do this at once. Raises StoreError when the schema is newer than this program.
    """
    try:
        db.begin_schema()
        db.run("create table if not exists schema_version (version integer not null)")
        (found,) = db.one("select max(version) from schema_version") or (None,)
        version = before = found or 0
        known = migrations()
        if version > known[-1][0]:
            raise StoreError(
                f"the store has schema {version}, this program knows up to {known[-1][0]}: "
                "run the newer xcluster"
            )
        for number, sql in known:
            if number > version:
                for statement in statements(sql, db.types):
                    db.run(statement)
                db.run("insert into schema_version (version) values (?)", number)
                version = number
        db.commit()
    finally:
        db.rollback()
    return before, version
