import datetime
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imageloom import tables
from imageloom.errors import DataError

SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("number", pa.int32())])
ROWS = [{"id": "a", "number": 1}, {"id": "b", "number": None}]


def test_a_table_is_written_with_the_types_that_are_declared(tmp_path):
    path = tmp_path / "table.parquet"
    tables.write(path, pa.table({"id": ["a", "b"], "number": pa.array([1, None], pa.int64())}), SCHEMA)
    assert pq.read_schema(path).equals(SCHEMA)
    assert tables.read(path, SCHEMA, "split").to_pylist() == ROWS


@pytest.mark.parametrize(
    "other",
    [{"id": ["a"]}, {"id": ["a"], "number": [1], "more": [2]}, {"id": ["a"], "number": ["one"]}],
    ids=["fewer columns", "more columns", "another type"],
)
def test_a_table_of_another_schema_is_not_written(tmp_path, other):
    path = tmp_path / "table.parquet"
    tables.write(path, ROWS, SCHEMA)
    with pytest.raises((pa.ArrowException, ValueError)):
        tables.write(path, pa.table(other), SCHEMA)
    assert tables.read(path, SCHEMA, "split").to_pylist() == ROWS
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "other", [{"id": ["a"]}, {"name": ["a"], "number": [1]}, {"id": ["a"], "number": ["one"]}, b"no table", None]
)
def test_a_file_that_is_not_the_table_says_what_to_run(tmp_path, other):
    path = tmp_path / "table.parquet"
    if isinstance(other, dict):
        pq.write_table(pa.table(other), path)
    elif other:
        path.write_bytes(other)
    with pytest.raises(DataError, match=r"table\.parquet") as fault:
        tables.read(path, SCHEMA, "split")
    assert "dvc repro" in fault.value.hint
    assert "split" in fault.value.hint
    with pytest.raises(DataError, match=r"table\.parquet"):
        list(tables.read_batches(path, SCHEMA, "split"))


def test_a_manifest_of_an_earlier_version_is_read(tmp_path):
    path = tmp_path / "manifest.parquet"
    whole = pa.table({field.name: pa.nulls(2, field.type) for field in tables.MANIFEST})
    pq.write_table(whole.drop_columns("fresh_until"), path)
    nullable = pa.schema([field.with_nullable(True) for field in tables.MANIFEST])
    assert tables.read(path, nullable, "scrape").equals(whole)
    assert [batch.schema for batch in tables.read_batches(path, nullable, "scrape")] == [nullable]
    pq.write_table(whole.drop_columns("etag"), path)
    with pytest.raises(DataError, match=r"manifest\.parquet"):
        tables.read(path, nullable, "scrape")


EVERY_KIND = pa.schema(
    [
        pa.field("text", pa.string()),
        pa.field("yes", pa.bool_(), nullable=False),
        pa.field("whole", pa.int16()),
        pa.field("part", pa.float32(), nullable=False),
        pa.field("data", pa.binary(), nullable=False),
        pa.field("names", pa.list_(pa.string()), nullable=False),
        pa.field("shares", pa.list_(pa.float32()), nullable=False),
        pa.field("moment", pa.timestamp("s", tz="UTC")),
    ]
)
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
MIXED = [
    {
        "text": "卡特\n彼勒 🐞",
        "yes": True,
        "whole": -3,
        "part": 1 / 3,
        "data": b"\0\xff",
        "names": ["a", ""],
        "moment": NOON,
    },
    {"text": "", "yes": False, "part": float("inf"), "data": b"", "names": [], "moment": NOON},
    {"yes": False, "whole": 0, "part": 1e-30, "data": b"abc", "names": ["ö"]},
]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_rows_become_what_arrow_makes_of_them(count):
    rows = [row | {"shares": [0.1 * number] * number} for number, row in enumerate(MIXED[:count])]
    assert tables.from_rows(rows, EVERY_KIND).equals(pa.Table.from_pylist(rows, EVERY_KIND))


def test_a_row_that_lacks_what_must_be_there_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="non-nullable"):
        tables.write(tmp_path / "table.parquet", [{"number": 1}], SCHEMA)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, np.int64, np.uint8])
def test_numbers_go_to_arrow_and_back(kind):
    numbers = np.arange(12).reshape(3, 4).T.astype(kind)
    column = tables.to_arrow(numbers)
    assert column.equals(pa.array(numbers.ravel()))
    assert tables.to_numpy(column).tolist() == numbers.ravel().tolist()
    assert tables.to_numpy(column.slice(5, 3)).tolist() == numbers.ravel()[5:8].tolist()
    assert tables.to_numpy(pa.chunked_array([column, column])).tolist() == numbers.ravel().tolist() * 2
    assert tables.to_numpy(column[:0]).dtype == kind


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.string(), ["a", None, "卡特彼勒 😀", ""]),
        (pa.bool_(), [True, False, None, True, False, False, True, True, None, True]),
        (pa.int16(), [1, None, -32768]),
        (pa.int64(), [2**62, 0]),
        (pa.float32(), [0.5, None, float("inf")]),
        (pa.float64(), [0.1, 1e-300]),
        (pa.timestamp("s", tz="UTC"), [None, 1_800_000_000]),
        (pa.int32(), []),
        (pa.string(), []),
    ],
)
def test_values_become_what_arrow_makes_of_them(kind, values):
    made = tables.array(iter(values), kind)
    made.validate(full=True)
    assert made.equals(pa.array(values, kind))
    assert made.null_count == values.count(None)
    assert tables.array([1, 0], pa.bool_()).to_pylist() == [True, False]  # as SQLite gives them


WITHOUT_PANDAS = """
import sys
import numpy as np
import pyarrow as pa
from datetime import UTC, datetime
from pathlib import Path
from imageloom import tables
from imageloom.features import FeatureStore

MOMENT = pa.schema([pa.field("moment", pa.timestamp("s", tz="UTC"))])
path, store = Path(sys.argv[1]) / "split.parquet", FeatureStore(Path(sys.argv[1]))
tables.write(path, [dict.fromkeys(tables.SPLIT.names, "1")], tables.SPLIT)
assert tables.read(path, tables.SPLIT, "split").to_pylist()
moment = datetime(2026, 1, 1, tzinfo=UTC)
tables.write(path, [dict.fromkeys(MOMENT.names, moment)], MOMENT)
assert tables.to_rows(tables.read(path, MOMENT, "scrape")) == [{"moment": moment.timestamp()}]
store.append([("a", np.ones(3, np.float32)), ("b", np.zeros(3, np.float32))], 3)
assert store.keep_only({"a"}) == 1
assert store.read(["a"]).tolist() == [[1, 1, 1]]
if len(sys.argv) > 2:
    tables.read_file(path).to_pandas()
sys.exit(bool({"pandas", "pyarrow.dataset"} & set(sys.modules)))
"""


def test_tables_and_features_need_no_pandas(tmp_path):
    command = [sys.executable, "-c", WITHOUT_PANDAS, str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == 0
    assert subprocess.run([*command, "with it"], check=False).returncode == 1
