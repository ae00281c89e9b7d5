"""usage: table.py: Athena's table, view and queries parse, and the table is projected by day."""

import glob
import os

import sqlglot
from sqlglot import exp

import lake

columns = lake.columns()
assert columns["id"] == "TEXT" and columns["dt"] == "TEXT", columns
assert columns["time"] == "TIMESTAMP" and columns["med"] == "BIGINT", columns
properties = lake.properties()
wanted = {
    "projection.enabled": "true",
    "projection.dt.type": "date",
    "projection.dt.format": "yyyy-MM-dd",
    "projection.dt.interval": "1",
    "projection.dt.interval.unit": "DAYS",
}
assert wanted.items() <= properties.items(), properties
assert properties["storage.location.template"].endswith("/dt=${dt}/"), properties
assert isinstance(lake.statement("view.sql"), exp.Create)
queries = sorted(glob.glob(os.path.join(lake.ATHENA, "queries", "*.sql")))
for query in queries:
    (parsed,) = sqlglot.parse(open(query).read(), read="athena", error_level=sqlglot.ErrorLevel.RAISE)
    # Every query names its days: without them Athena would read the whole lake.
    assert any(column.name == "dt" for column in parsed.find_all(exp.Column)), query
print(f"{len(columns)} columns, {len(queries)} queries")
