"""The lake as analysts see it: Athena's table and view in DuckDB, from the statements in deploy/athena/ alone.

sqlglot, which nobody here wrote, parses them and turns Athena's dialect into DuckDB's.
"""

import glob
import json
import os

import duckdb
import sqlglot
from sqlglot import exp

ATHENA = os.path.join(os.path.dirname(__file__), "..", "..", "deploy", "athena")


def statement(name):
    with open(os.path.join(ATHENA, name)) as file:
        statements = [one for one in sqlglot.parse(file.read(), read="athena") if one]
    assert len(statements) == 1, f"{name} has {len(statements)} statements"
    return statements[0]


def columns():
    """The table's columns and their types in DuckDB, the partition's last."""
    table = statement("table.sql")
    assert isinstance(table, exp.Create) and table.kind in ("TABLE", "EXTERNAL TABLE"), repr(table)
    found = [column for column in table.this.expressions if isinstance(column, exp.ColumnDef)]
    partition = table.find(exp.PartitionedByProperty).find_all(exp.ColumnDef)
    found += [column for column in partition if column not in found]
    return {column.name: column.args["kind"].sql("duckdb") for column in found}


def properties():
    """TBLPROPERTIES of the table."""
    found = statement("table.sql").find_all(exp.Property)
    return {one.name: one.args["value"].name for one in found if isinstance(one.args.get("value"), exp.Literal)}


def connect(files, view="vpn_events"):
    """DuckDB with the table over these files, each column as the table declares it, and the view."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    names = columns()
    assert names.pop("dt") == "TEXT"
    declared = ", ".join(f'"{name}" {kind}' for name, kind in names.items())
    connection.execute(f"CREATE TABLE declared ({declared})")
    listed = ", ".join(f"'{file}'" for file in files)
    cast = ", ".join(f'CAST("{name}" AS {kind}) AS "{name}"' for name, kind in names.items())
    connection.execute(
        f"""CREATE VIEW vpn_events_raw AS SELECT {cast}, dt FROM (
            SELECT * FROM declared UNION ALL BY NAME
            SELECT * FROM read_parquet([{listed}], union_by_name = true, hive_partitioning = true,
                                       hive_types = {{'dt': VARCHAR}}))"""
    )
    connection.execute(statement("view.sql").sql("duckdb"))
    return connection


def files_in(folder):
    files = sorted(glob.glob(os.path.join(folder, "**", "*.parquet"), recursive=True))
    assert files, f"no Parquet file in {folder}"
    return files


def events_in(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def reference():
    """Each column's field in the event, from the published reference."""
    fields = {}
    with open(os.path.join(os.path.dirname(__file__), "..", "..", "schemas", "lake.md")) as file:
        for line in file:
            cells = [cell.strip().strip("`") for cell in line.split(" | ")]
            if line.startswith("| `"):
                fields[cells[0].strip("| `")] = cells[2]
    return fields
