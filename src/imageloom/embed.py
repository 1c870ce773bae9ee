"""Stage `embed`: turns every picture into a feature vector; a picture that has one already costs nothing.

Pictures are decoded and run through the backbone's TFLite graph on all processors, one interpreter per thread.
"""

import itertools
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from imageloom import console, engine, files, images, tables
from imageloom.engine import Engine, cores, map_ordered
from imageloom.errors import DataError, ImageError
from imageloom.features import PART, FeatureStore, key, picture_of, view_of
from imageloom.files import Paths
from imageloom.images import Aspect
from imageloom.params import StageParams

View = Literal["mirror", "zoom"]

_ZOOM = 0.8  # of a picture's side, that its middle has


class Params(StageParams):
    """How a picture is looked at."""

    aspect: Aspect = Field(
        default="crop",
        description="how a picture becomes square: `crop` its centre, `pad` with white, or `stretch`",
    )
    views: list[View] = Field(
        default=[],
        description="other looks at each picture, to train on as well: `mirror`, left and right swapped, which is not "
        "for letters; `zoom`, its middle",
    )
    workers: int | None = Field(default=None, ge=1, le=256, description="threads; one per processor if not given")


def run(params: Params, paths: Paths) -> None:
    """Adds the vectors of new pictures to data/features/, and drops those of pictures that are no more.

    Where they were made another way they are made anew; the old ones stay until the last new one is there.

    Raises:
        DataError: There are no pictures, or there is no backbone.
        ModelError: The backbone is damaged.
    """
    wanted = stored_pictures(paths)
    recipe = _recipe(params, paths)
    network = Engine(paths.backbone / "backbone.tflite")
    stored = FeatureStore(paths.features)
    store = stored.prepare(recipe)
    looks = {key(name, view): path for name, path in wanted.items() for view in ("", *params.views)}
    dropped = store.keep_only(set(looks))
    known, failed = set(store.ids()), {name: why for name, why in store.failed().items() if name in wanted}
    new = {name: path for name, path in looks.items() if name not in known and picture_of(name) not in failed}
    newly_failed = _embed(store, new, network, params)
    store.write_failed(failed | newly_failed)
    stored.adopt(store)
    looked_at = {picture_of(name) for name in new}
    console.say(
        f"embed: {len(looked_at - newly_failed.keys()):,} new images embedded, "
        f"{len(wanted.keys() - looked_at - failed.keys()):,} had their features already"
        + (f", {dropped:,} dropped" if dropped else "")
        + (f", {len(newly_failed):,} could not be opened" if newly_failed else "")
    )


def stored_pictures(paths: Paths) -> dict[str, Path]:
    """Every picture that is used, in the order of ids: SHA-256 -> file.

    Raises:
        DataError: There is none.
    """
    manifest = tables.read(paths.raw / "manifest.parquet", tables.MANIFEST, "scrape")
    columns = manifest.select(["sha256", "path", "used"]).to_pydict()
    found = {sha: path for sha, path, used in zip(*columns.values(), strict=True) if sha and used}
    if not found:
        raise DataError("there are no pictures", "look at what `imageloom scrape` says became of each address")
    return {sha: paths.raw / found[sha] for sha in sorted(found)}


def _recipe(params: Params, paths: Paths) -> dict[str, Any]:
    """What the vectors depend on beside the pictures: network, code and the libraries that do the sums."""
    backbone = files.read_json(paths.backbone / "backbone.json", "backbone")
    code = {module.__name__: files.sha256(Path(str(module.__file__))) for module in (images, engine)}
    libraries = {name: metadata.version(name) for name in ("ai-edge-litert", "numpy", "pillow")}
    return {"backbone": backbone["sha256"], "aspect": params.aspect, "zoom": _ZOOM, **code, **libraries}


def _embed(store: FeatureStore, new: dict[str, Path], network: Engine, params: Params) -> dict[str, str]:
    failed: dict[str, str] = {}
    done, interruption = 0, None

    def work(item: tuple[str, Path]) -> tuple[str, np.ndarray | str]:
        name, path = item
        try:
            return name, network(_look(path.read_bytes(), view_of(name), network.size, params.aspect))
        except ImageError as fault:
            return name, str(fault)
        except OSError as fault:
            raise DataError(f"cannot read {path}: {fault.strerror}", "run `imageloom scrape` to get it again") from None

    def good(results: Iterable[tuple[str, np.ndarray | str]]) -> Iterator[tuple[str, np.ndarray]]:
        nonlocal done, interruption
        try:
            for name, result in results:
                done += 1
                bar.update(done, note=f"{len(failed)} failed" if failed else "")
                if isinstance(result, str):
                    failed[picture_of(name)] = result
                else:
                    yield name, result
        except KeyboardInterrupt as fault:  # the part ends here, so that what is done is kept
            interruption = fault

    with console.progress("embed", len(new)) as bar:
        for chunk in _chunks(new, PART):
            store.append(good(map_ordered(work, chunk, params.workers or cores())), network.output_length)
            if interruption:
                raise interruption
    return failed


def _look(data: bytes, view: str, size: int, aspect: Aspect) -> np.ndarray:
    """The picture as the network sees it, or another view of it: uint8[size, size, 3]."""
    if view == "zoom":
        larger = round(size / _ZOOM)
        start = (larger - size) // 2
        return images.load(data, larger, aspect)[start : start + size, start : start + size]
    pixels = images.load(data, size, aspect)
    return pixels[:, ::-1] if view == "mirror" else pixels


def _chunks(new: dict[str, Path], size: int) -> Iterator[list[tuple[str, Path]]]:
    items = iter(new.items())
    while chunk := list(itertools.islice(items, size)):
        yield chunk
