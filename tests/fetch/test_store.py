"""The store of pictures, written to from several threads."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from imageloom.fetch.status import Status
from imageloom.fetch.store import Store


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def test_one_picture_from_many_addresses_at_once_is_written_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    bodies = [picture(number // 8) for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(lambda body: store.keep(body, "猫", None), bodies))
    assert {one.status for one in kept} == {Status.OK}
    assert {path.name for path in (tmp_path / "猫").iterdir()} == {one.columns["path"].split("/")[1] for one in kept}
    assert len(list((tmp_path / "猫").iterdir())) == 50


def test_a_picture_that_was_cut_on_the_disk_is_written_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    row = store.keep(picture(1), "cat", None).columns
    assert store.has(row)
    (tmp_path / row["path"]).write_bytes(b"half")
    assert not store.has(row)
    assert store.keep(picture(1), "cat", row).status is Status.OK
    assert (tmp_path / row["path"]).read_bytes() == picture(1)
