"""usage: old.py OLD.parquet FOLDER: files with fewer and with more columns, read together and by either table."""

import os
import shutil
import sys

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

import lake


def main(old, folder):
    table = pyarrow.parquet.read_table(old)
    names = list(lake.columns())
    names.remove("dt")
    kept = table.column_names
    # The old file's columns are a prefix of today's: so today's table reads it, what is new as null.
    assert kept == names[: len(kept)] and table.num_rows > 0, "the kept old file has columns that the table lacks"

    # A file of a later version, with one more optional column; rows are the old ones under other ids.
    ids = pa.array([f"{number:032x}" for number in range(table.num_rows)])
    newer = table.set_column(kept.index("id"), "id", ids)
    newer = newer.append_column("a_later_column", pa.array(["later"] * table.num_rows))
    day = os.path.join(folder, "dt=2026-01-15")
    os.makedirs(day)
    paths = [shutil.copy(old, os.path.join(day, "old.parquet")), os.path.join(day, "newer.parquet")]
    pyarrow.parquet.write_table(newer, paths[1])

    # DuckDB, by today's table, and by a table that knows the later column.
    database = lake.connect(paths)
    ask = "SELECT count(*), count(DISTINCT id), count(connection_id), count(summary) FROM vpn_events_raw"
    counts = database.execute(ask).fetchone()
    rows = 2 * table.num_rows
    distinct = len(set(table.column("id").to_pylist())) + table.num_rows
    assert counts[0] == rows and counts[1] == distinct, counts
    assert counts[2] > 0 and counts[3] == rows, counts
    listed = ", ".join(f"'{path}'" for path in paths)
    later = f"SELECT count(*), count(a_later_column) FROM read_parquet([{listed}], union_by_name = true)"
    assert database.execute(later).fetchone() == (rows, table.num_rows)

    # pyarrow, by the old file's schema and by the later one's.
    for schema, filled in [(table.schema, None), (newer.schema, table.num_rows)]:
        read = pyarrow.dataset.dataset(paths, schema=schema).to_table()
        assert read.num_rows == rows and read.column_names == schema.names
        if filled is not None:
            column = read.column("a_later_column")
            assert len(column) - column.null_count == filled
        assert read.column("summary").null_count == 0
    print(f"{rows} rows of two versions, {len(kept)} columns and one more")


main(*sys.argv[1:])
