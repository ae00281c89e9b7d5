"""usage: rows.py LAKE EVENTS.ndjson: every row against the event that it was made of, as DuckDB and pyarrow read it.

What a row must be is computed from the event's own JSON, the published reference and Python's `ipaddress`.
"""

import collections
import ipaddress
import sys
from datetime import datetime, timezone

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

import lake

SEVERITIES = ["debug", "info", "notice", "warning", "error", "critical"]


def at(event, path):
    for name in path.split("."):
        event = event.get(name) if isinstance(event, dict) else None
    return event


def range_value(name, text):
    """The value of a column for range queries."""
    if name == "prefix_length":
        return ipaddress.ip_network(text).prefixlen
    if name.endswith(("_first_num", "_first_hex")):
        address = ipaddress.ip_network(text).network_address
    elif name.endswith(("_last_num", "_last_hex")):
        address = ipaddress.ip_network(text).broadcast_address
    else:
        address = ipaddress.ip_address(text)
    if name.endswith("_num"):
        return int(address) if address.version == 4 else None
    return address.exploded.replace(":", "") if address.version == 6 else None


def expected(event, fields):
    row = {"dt": event["time"][:10]}
    for name, path in fields.items():
        value = at(event, path)
        if value is not None and (name.endswith(("_num", "_hex")) or name == "prefix_length"):
            value = range_value(name, value)
        elif value is not None and name == "severity_number":
            value = SEVERITIES.index(value)
        elif value is not None and name in ("time", "observed", "inventory_as_of"):
            value = datetime.fromisoformat(value).astimezone(timezone.utc)
        elif value is not None and name == "tags":
            value = tuple(sorted(value.items()))
        elif value is not None and name == "problems":
            value = tuple((problem["field"], problem["value"]) for problem in value) or None
        elif isinstance(value, list):
            value = tuple(value)
        row[name] = value
    return row


def plain(name, value):
    """A value as either reader gives it, in one form."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
    if name == "tags" and value is not None:
        return tuple(sorted(dict(value).items()))
    if name == "problems" and value is not None:
        return tuple((problem["field"], problem["value"]) for problem in value)
    return tuple(value) if isinstance(value, list) else value


def counted(rows, names):
    return collections.Counter(tuple(plain(name, row[name]) for name in names) for row in rows)


def compare(what, found, wanted, names):
    missing, extra = wanted - found, found - wanted
    if missing or extra:
        one, other = next(iter(missing), None), next(iter(extra), None)
        where = [(n, a, b) for n, a, b in zip(names, one or other, other or one) if a != b]
        sys.exit(f"{what}: {missing.total()} rows are missing, {extra.total()} too many; for example {where}")
    print(f"{what}: {found.total()} rows, field by field")


def form(files):
    """How a file is made: what every reader that prunes relies on."""
    for path in files:
        file = pyarrow.parquet.ParquetFile(path)
        # Leaves: a map or a list of structs has several.
        place = {file.schema.column(leaf).path: leaf for leaf in range(len(file.schema))}
        assert file.schema_arrow.field("time").type == pa.timestamp("us", tz="UTC")
        assert file.schema_arrow.field("as_path_asns").type.value_type == pa.int64()
        assert pa.types.is_map(file.schema_arrow.field("tags").type)
        for group in range(file.num_row_groups):
            metadata = file.metadata.row_group(group)
            sorting = [file.schema.column(one.column_index).name for one in metadata.sorting_columns]
            assert sorting == ["connection_id", "time"], sorting
            for name in ("connection_id", "time", "kind", "account_id", "prefix_first_num"):
                column = metadata.column(place[name])
                assert column.path_in_schema == name and column.compression == "ZSTD", column
                assert column.is_stats_set and column.has_column_index and column.has_offset_index, column
            kind = metadata.column(place["kind"])
            assert kind.has_dictionary_page and (kind.statistics.min, kind.statistics.max) != (None, None)
    print(f"pyarrow: {len(files)} files with statistics, page indexes, dictionaries and Zstandard")


def main(folder, events):
    files, fields = lake.files_in(folder), lake.reference()
    names = list(lake.columns())
    assert names == list(fields) + ["dt"], "Athena's table and the reference have the same columns"
    wanted = counted([expected(event, fields) for event in lake.events_in(events)], names)
    form(files)
    dataset = pyarrow.dataset.dataset(folder, format="parquet", partitioning=pyarrow.dataset.partitioning(
        pa.schema([("dt", pa.string())]), flavor="hive"))
    compare("pyarrow", counted(dataset.to_table().to_pylist(maps_as_pydicts="strict"), names), wanted, names)
    result = lake.connect(files).execute("SELECT * FROM vpn_events_raw")
    heads = [column[0] for column in result.description]
    rows = [dict(zip(heads, row)) for row in result.fetchall()]
    compare("DuckDB", counted(rows, names), wanted, names)


main(*sys.argv[1:])
