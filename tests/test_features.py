import numpy as np
import pytest

from imageloom.errors import DataError
from imageloom.features import FeatureStore

VECTORS = {f"picture-{n:02d}": np.arange(4, dtype=np.float32) + 10 * n for n in range(30)}
NAMES = list(VECTORS)


@pytest.fixture
def store(tmp_path):
    """Three parts of ten pictures."""
    store = FeatureStore(tmp_path / "features")
    for start in (0, 10, 20):
        assert store.append([(name, VECTORS[name]) for name in NAMES[start : start + 10]], 4) == 10
    return store


def check(store: FeatureStore, names: list[str]) -> None:
    assert np.array_equal(store.read(names), [VECTORS[name] for name in names])


def test_vectors_come_in_the_order_asked_for_from_all_parts(store):
    names = [NAMES[n] for n in np.random.default_rng(0).permutation(30)[:17]]
    check(store, names)


def test_a_new_part_takes_no_name_that_is_in_use(store):
    assert store.keep_only(set(NAMES[10:])) == 10
    store.append([("late", np.ones(4, np.float32))], 4)
    assert store.ids() == [*NAMES[10:], "late"]
    check(store, NAMES[10:])


def test_a_part_of_which_some_are_dropped_keeps_the_others_with_their_own_vectors(store):
    kept = [name for number, name in enumerate(NAMES) if number not in (3, 10, 19)]
    assert store.keep_only(set(kept)) == 3
    assert store.ids() == kept
    check(store, kept[::-1])


def test_a_picture_without_a_vector_is_told(store):
    with pytest.raises(DataError, match="no features of 1 picture") as fault:
        store.read([NAMES[0], "unknown", NAMES[29]])
    assert "dvc repro embed" in fault.value.hint


def test_nothing_to_add_adds_no_part(store, tmp_path):
    assert store.append([], 4) == 0
    assert len(list((tmp_path / "features").iterdir())) == 3


def remade(store: FeatureStore) -> FeatureStore:
    """A store beside `store`, with the first ten vectors, by another recipe."""
    beside = store.prepare({"made": "otherwise"})
    beside.append([(name, -VECTORS[name]) for name in NAMES[:10]], 4)
    return beside


def test_vectors_stay_until_those_made_another_way_are_whole(store, tmp_path):
    beside = remade(store)
    assert beside.ids() == NAMES[:10]
    check(store, NAMES)
    store.adopt(beside)
    assert np.array_equal(store.read(NAMES[:10]), [-VECTORS[name] for name in NAMES[:10]])
    assert store.ids() == NAMES[:10]
    assert store.made_by() == {"made": "otherwise"}
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


def test_what_was_made_another_way_is_gone_on_with(store):
    remade(store)
    again = store.prepare({"made": "otherwise"})
    assert again.ids() == NAMES[:10]
    assert store.prepare({"made": "a third way"}).ids() == []
    check(store, NAMES)


def test_a_change_that_is_undone_leaves_nothing_beside_the_store(tmp_path):
    empty = FeatureStore(tmp_path / "features")
    store = empty.prepare({"made": "here"})
    store.append(VECTORS.items(), 4)
    empty.adopt(store)
    remade(store)
    assert store.prepare({"made": "here"}) is store
    assert [path.name for path in tmp_path.iterdir()] == ["features"]
    check(store, NAMES)


def test_a_kill_between_the_two_renames_loses_nothing(store, tmp_path):
    remade(store)
    (tmp_path / "features").rename(tmp_path / ".features.old")
    assert store.prepare({"made": "otherwise"}).ids() == NAMES[:10]
    check(store, NAMES)
