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
