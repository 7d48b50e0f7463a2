"""Batches: each record once an epoch, the same again from any position, masks as when prepared."""

import contextlib
import dataclasses
import gzip
import itertools
import json
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_ko import files
from bert_ko.data import reader as module
from bert_ko.data import records
from bert_ko.data.features import FeatureNames, instance_features
from bert_ko.data.masking import MaskingConfig, mask_tokens
from bert_ko.data.packing import RowLimits
from bert_ko.data.reader import (
    DynamicMasking,
    InstanceReader,
    ReaderConfig,
    RecordBatch,
    ShardSource,
)
from bert_ko.data.share import Share
from bert_ko.data.tfrecord import ExampleEncoder

LENGTH, PREDICTIONS, VOCAB_SIZE = 24, 4, 500
CLS, SEP, MASK, FIRST_ID = 2, 3, 4, 10
Rows = dict[str, np.ndarray]


class Data(NamedTuple):
    """Shards, and their rows."""

    sources: tuple[ShardSource, ...]
    rows: list[Rows]


def make_rows(count: int, length: int, dynamic: bool, seed: int) -> Rows:
    """Pairs of segments of random pieces; an eojeol is one or more morphemes."""
    rng = np.random.default_rng(seed)
    column = np.arange(length)[None]
    last = rng.integers(6, length, (count, 1))  # the second [SEP]
    middle = rng.integers(2, last - 1)
    is_piece = (column > 0) & (column < last) & (column != middle)
    ids = rng.integers(FIRST_ID, VOCAB_SIZE, (count, length))
    ids = np.where(is_piece, ids, np.where(column <= last, SEP, 0))
    ids[:, 0] = CLS
    rows = {
        "input_ids": ids,
        "input_mask": (column <= last).astype(int),
        "segment_ids": ((column > middle) & (column <= last)).astype(int),
        "next_sentence_labels": rng.integers(0, 2, (count, 1)),
    }
    if dynamic:
        first = (column == 1) | (column == middle + 1)
        morphemes = is_piece & (first | (rng.random(ids.shape) < 0.6))
        eojeols = morphemes & (first | (rng.random(ids.shape) < 0.5))
        rows["morpheme_ids"] = np.where(is_piece, np.cumsum(morphemes, 1), 0)
        rows["eojeol_ids"] = np.where(is_piece, np.cumsum(eojeols, 1), 0)
        return rows
    shape = (count, PREDICTIONS)
    rows["masked_lm_positions"] = np.sort(rng.integers(1, 6, shape), axis=1)
    rows["masked_lm_ids"] = rng.integers(FIRST_ID, VOCAB_SIZE, shape)
    rows["masked_lm_weights"] = rng.integers(0, 2, shape).astype(np.float32)
    return rows


def write_shard(path: Path, rows: Rows, dynamic: bool, names: FeatureNames = "v1") -> None:
    specs = instance_features(rows["input_ids"].shape[1], PREDICTIONS, dynamic)
    data = b""
    if len(rows["input_ids"]):
        data = ExampleEncoder(specs, names).encode(rows).data.tobytes()
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)


def make_data(
    folder: Path,
    sizes: Sequence[int],
    dynamic: bool = False,
    names: FeatureNames = "v1",
    extension: str = "",
    length: int = LENGTH,
) -> Data:
    paths = [folder / f"{number}-{dynamic}{extension}" for number in range(len(sizes))]
    rows = []
    for number, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        rows.append(make_rows(size, length, dynamic, 1000 * number + size))
        write_shard(path, rows[-1], dynamic, names)
    return Data(tuple(ShardSource(str(path)) for path in paths), rows)


MASKING = DynamicMasking(
    "morpheme", MaskingConfig(0.15, PREDICTIONS), MASK, ((FIRST_ID, VOCAB_SIZE - 1),)
)


def make_config(data: Data, dynamic: bool = False, **values: Any) -> ReaderConfig:
    length = data.rows[0]["input_ids"].shape[1]
    config = ReaderConfig(
        data.sources, 5, length, PREDICTIONS, VOCAB_SIZE, masking=MASKING if dynamic else None
    )
    return dataclasses.replace(config, **values)


def take(
    config: ReaderConfig, count: int, position: dict[str, Any] | None = None
) -> list[RecordBatch]:
    with contextlib.closing(InstanceReader(config, position).batches()) as batches:
        return list(itertools.islice(batches, count))


def places(batches: Sequence[RecordBatch]) -> list[tuple[int, int]]:
    """Shard and record of each sequence in order, padding left out."""
    found = [
        place
        for batch in batches
        for place in zip(batch.shards.tolist(), batch.records.tolist(), strict=True)
    ]
    return [place for place in found if place != (-1, -1)]


def all_places(sizes: Sequence[int]) -> list[tuple[int, int]]:
    return [(shard, record) for shard, size in enumerate(sizes) for record in range(size)]


def assert_same(ours: Sequence[RecordBatch], theirs: Sequence[RecordBatch]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.features.keys() == b.features.keys()
        for name in a.features:
            assert a.features[name].dtype == b.features[name].dtype
            assert a.features[name].tobytes() == b.features[name].tobytes(), name
        assert (a.shards.tolist(), a.records.tolist()) == (b.shards.tolist(), b.records.tolist())
        assert (a.position, a.epoch) == (b.position, b.epoch)


def restored(features: Rows) -> np.ndarray:
    """The ids before they were masked."""
    ids = features["input_ids"].copy()
    row, column = np.nonzero(features["masked_lm_weights"])
    ids[row, features["masked_lm_positions"][row, column]] = features["masked_lm_ids"][row, column]
    return ids


def assert_content(batches: Sequence[RecordBatch], data: Data, dynamic: bool) -> None:
    """Each sequence is the one whose place it bears."""
    for batch in batches:
        found = dict(batch.features)
        if dynamic:
            found["input_ids"] = restored(found)
        for row, (shard, record) in enumerate(
            zip(batch.shards.tolist(), batch.records.tolist(), strict=True)
        ):
            for name, values in data.rows[shard].items() if shard >= 0 else ():
                if name not in ("morpheme_ids", "eojeol_ids"):
                    assert found[name][row].tolist() == values[record].tolist(), name


class Setting(NamedTuple):
    """Shards and how they are read."""

    sizes: list[int]
    dynamic: bool
    shuffle_buffer_size: int
    interleave: int
    batch_size: int
    chunk: int

    @contextlib.contextmanager
    def apply(self, folder: Path) -> Iterator[tuple[Data, ReaderConfig]]:
        data = make_data(folder, self.sizes, self.dynamic)
        config = make_config(
            data, self.dynamic, batch_size=self.batch_size, interleave=self.interleave,
            shuffle_buffer_size=self.shuffle_buffer_size, seed=sum(self.sizes),
        )  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_CHUNK", self.chunk)
            yield data, config


SETTINGS = st.builds(
    Setting,
    st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any),
    st.booleans(),
    st.integers(0, 50),
    st.integers(1, 7),
    st.integers(1, 19),
    st.integers(1, 16),
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of one example of a property, overwritten by the next."""
    return tmp_path_factory.mktemp("shards")


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(SETTINGS)
def test_one_epoch_any_shards_gives_each_record_once(folder: Path, setting: Setting) -> None:
    with setting.apply(folder) as (data, config):
        batches = list(InstanceReader(config).one_epoch())
    total, size = sum(setting.sizes), setting.batch_size
    assert sorted(places(batches)) == all_places(setting.sizes)
    assert len(batches) == -(-total // size)
    assert_content(batches, data, setting.dynamic)
    padding = len(batches) * size - total
    for batch in batches:
        assert batch.epoch == 0
        assert batch.shards.dtype == np.int32 and batch.records.dtype == np.int64
        assert {len(values) for values in batch.features.values()} == {size}
    for batch, padded in zip(batches, [*[0] * (len(batches) - 1), padding], strict=True):
        real = size - padded
        assert (batch.shards[:real] >= 0).all() and (batch.records[:real] >= 0).all()
        assert (batch.shards[real:] == -1).all() and (batch.records[real:] == -1).all()
        assert batch.features["next_sentence_weights"].tolist() == [1.0] * real + [0.0] * padded
        for values in batch.features.values():
            assert not values[real:].any()


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(SETTINGS, st.data())
def test_batches_resumed_at_any_position_resume_bit_for_bit(
    folder: Path, setting: Setting, data: st.DataObject
) -> None:
    epochs = 3 * sum(setting.sizes) // setting.batch_size + 2
    with setting.apply(folder) as (_, config):
        batches = take(config, min(epochs, 40))
        last = data.draw(st.integers(0, len(batches) - 1))
        text = json.dumps(batches[last].position)
        assert json.loads(text) == batches[last].position
        resumed = take(config, len(batches) - last - 1, json.loads(text))
    assert_same(resumed, batches[last + 1 :])


@pytest.mark.parametrize("dynamic", [False, True])
def test_batches_every_epoch_has_each_record_once(dynamic: bool, tmp_path: Path) -> None:
    sizes = [7, 0, 19, 4]
    data = make_data(tmp_path, sizes, dynamic)
    batches = take(
        make_config(data, dynamic, batch_size=8, shuffle_buffer_size=9, interleave=2), 15
    )
    assert_content(batches, data, dynamic)
    order = places(batches)
    epochs = [order[start : start + 30] for start in range(0, 120, 30)]
    for epoch in epochs:
        assert sorted(epoch) == all_places(sizes)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    # Of the last sequence: 8 sequences a batch, 30 an epoch.
    assert [batch.epoch for batch in batches] == [(8 * i + 7) // 30 for i in range(15)]


@pytest.mark.slow
def test_batches_order_of_the_shards_depends_on_seed_and_epoch(tmp_path: Path) -> None:
    data = make_data(tmp_path, [5, 5, 5, 5])

    def shards(seed: int) -> list[int]:
        # One shard after another: a window of 5 in a batch of 5.
        config = make_config(data, seed=seed, interleave=1, shuffle_buffer_size=5)
        return [int(batch.shards[0]) for batch in take(config, 80)]

    found = shards(0)
    epochs = [tuple(found[start : start + 4]) for start in range(0, 80, 4)]
    assert all(sorted(epoch) == [0, 1, 2, 3] for epoch in epochs)
    assert len(set(epochs)) > 5  # 20 of 24 orders, mostly with repetitions
    assert len({tuple(shards(seed)[:4]) for seed in range(20)}) > 5


def test_batches_a_window_mixes_open_shards_and_their_records(tmp_path: Path) -> None:
    data = make_data(tmp_path, [100, 100, 100, 100])
    config = make_config(data, shuffle_buffer_size=100, interleave=2, batch_size=100)
    found = [places([batch]) for batch in take(config, 4)]
    for window in found:
        counts = Counter(shard for shard, _ in window)
        assert sorted(counts.values()) == [50, 50]
        assert window != sorted(window)
    # Shards stay open until they end: two windows read the same two.
    shards = [{shard for shard, _ in window} for window in found]
    assert shards[0] == shards[1] and shards[2] == shards[3]
    assert {record for _, record in found[0]} == set(range(50))


def test_batches_every_window_has_an_order_of_its_own(tmp_path: Path) -> None:
    # One shard: by its window, epoch and seed alone.
    data = make_data(tmp_path, [100])

    def orders(seed: int) -> list[tuple[int, ...]]:
        batches = take(make_config(data, seed=seed, batch_size=50, shuffle_buffer_size=50), 4)
        return [tuple(record % 50 for _, record in places([batch])) for batch in batches]

    assert len({*orders(1), *orders(1), *orders(2)}) == 8


def test_batches_shuffle_has_no_preferred_place(tmp_path: Path) -> None:
    # Mean place of a record of the first half: 199.5, with a deviation of 115 / sqrt(200) = 8.2
    # for one epoch and 1.8 for twenty; five of these are allowed.
    data = make_data(tmp_path, [400])
    order = places(take(make_config(data, batch_size=400), 20))
    sums = [i % 400 for i, (_, record) in enumerate(order) if record < 200]
    assert abs(np.mean(sums) - 199.5) < 9


def test_batches_without_shuffle_keep_the_order_of_the_shards(tmp_path: Path) -> None:
    sizes = [3, 0, 1030, 2]
    data = make_data(tmp_path, sizes)
    config = make_config(data, shuffle_buffer_size=0, batch_size=345)
    assert places(take(config, 9)) == all_places(sizes) * 3
    assert places(list(InstanceReader(config).one_epoch())) == all_places(sizes)


def test_one_epoch_resumed_gives_what_is_left_each_time(tmp_path: Path) -> None:
    data = make_data(tmp_path, [20, 5])
    config = make_config(data, batch_size=4, shuffle_buffer_size=7)
    batches = list(InstanceReader(config).one_epoch())
    assert len(batches) == 7
    for count, batch in enumerate(batches, 1):
        reader = InstanceReader(config, batch.position)
        for _ in range(2):
            assert_same(list(reader.one_epoch()), batches[count:])


@pytest.mark.parametrize("dynamic", [False, True])
def test_batches_gzip_equals_plain_and_is_read_through_once(
    dynamic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [40, 3, 25]
    plain = make_data(tmp_path, sizes, dynamic)
    packed = make_data(tmp_path, sizes, dynamic, extension=".gz")
    values = {"shuffle_buffer_size": 6, "interleave": 2, "batch_size": 68}
    opened = Counter[str]()
    open_binary = files.open_binary

    def count(path: str) -> Any:
        opened[path] += 1
        return open_binary(path)

    monkeypatch.setattr(files, "open_binary", count)
    batches = take(make_config(packed, dynamic, **values), 1)
    assert set(opened.values()) == {1}
    monkeypatch.undo()
    assert_same(batches, take(make_config(plain, dynamic, **values), 1))


@pytest.mark.parametrize("end", ["closed", "at the end", "damaged"])
def test_batches_open_files_are_few_and_closed(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path, [9] * 8)
    if end == "damaged":
        for source in data.sources[2:]:
            Path(source.path).write_bytes(b"damaged")
    streams: list[Any] = []
    most = 0
    open_binary = files.open_binary

    def remember(path: str) -> Any:
        nonlocal most
        streams.append(open_binary(path))
        most = max(most, sum(not stream.closed for stream in streams))
        return streams[-1]

    monkeypatch.setattr(files, "open_binary", remember)
    config = make_config(data, shuffle_buffer_size=9, interleave=3, batch_size=4)
    batches = InstanceReader(config).one_epoch()
    if end == "damaged":
        with pytest.raises(ValueError, match=r"record 0: its size is damaged|ends inside"):
            list(batches)
    elif end == "closed":
        next(batches)
        assert any(not stream.closed for stream in streams)
        batches.close()  # type: ignore[attr-defined]
    else:
        list(batches)
        assert len(streams) == 8
    assert streams and most <= 3
    assert all(stream.closed for stream in streams)


def test_dynamic_masks_differ_between_epochs_and_seeds(tmp_path: Path) -> None:
    data = make_data(tmp_path, [40], True)

    def masks(seed: int, epoch: int) -> np.ndarray:
        config = make_config(data, True, batch_size=40, seed=seed, shuffle_buffer_size=0)
        return take(config, epoch + 1)[-1].features["input_ids"]

    first, again, other, later = masks(1, 0), masks(1, 0), masks(2, 0), masks(1, 1)
    assert (first == again).all()
    for different in (other, later):
        # One to four targets of up to 22 pieces: a few sequences draw the same.
        assert (first != different).any(axis=1).sum() > 20


@pytest.mark.slow
@pytest.mark.parametrize("shuffle_buffer_size", [0, 12, 5000])
def test_dynamic_masks_are_the_same_whatever_the_batch_size(
    shuffle_buffer_size: int, tmp_path: Path
) -> None:
    data = make_data(tmp_path, [1100, 31], True)

    def stream(batch_size: int) -> dict[str, bytes]:
        config = make_config(
            data, True, batch_size=batch_size, shuffle_buffer_size=shuffle_buffer_size
        )
        batches = take(config, 2262 // batch_size)  # two epochs
        names = batches[0].features
        return {
            name: np.concatenate([batch.features[name] for batch in batches]).tobytes()
            for name in names
        }

    assert stream(1131) == stream(78) == stream(3) == stream(2262)


@pytest.mark.parametrize(("window", "chunk"), [(100, 50), (50, 100), (50, 50)])
def test_dynamic_masks_chunks_and_windows_do_not_repeat(
    window: int, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same rows twice: the same draws would give the same masks.
    monkeypatch.setattr(module, "_CHUNK", chunk)
    monkeypatch.setattr(records, "_UNSHUFFLED", window)
    data = make_data(tmp_path, [50], True)
    path = Path(data.sources[0].path)
    path.write_bytes(path.read_bytes() * 2)
    first, second = take(make_config(data, True, batch_size=50, shuffle_buffer_size=0), 2)
    assert restored(first.features).tolist() == restored(second.features).tolist()
    assert first.features["input_ids"].tolist() != second.features["input_ids"].tolist()


def starts_of(rows: Rows, unit: str) -> np.ndarray:
    """First pieces of words; each word of a sequence has its own number."""
    is_piece = rows["morpheme_ids"] > 0
    if unit == "piece":
        return is_piece
    starts = np.zeros(is_piece.shape, bool)
    for row, words in enumerate(rows[f"{unit}_ids"]):
        _, first = np.unique(words, return_index=True)
        starts[row, first] = is_piece[row, first]
    return starts


@pytest.mark.parametrize("unit", ["piece", "morpheme", "eojeol"])
def test_dynamic_masking_equals_static_with_the_same_draws(
    unit: Literal["piece", "morpheme", "eojeol"], tmp_path: Path
) -> None:
    data = make_data(tmp_path, [600], dynamic=True, length=64)
    (rows,) = data.rows
    ranges = ((FIRST_ID, 99), (200, VOCAB_SIZE - 1))
    masking = DynamicMasking(unit, MaskingConfig(0.15, 9, 3, True), MASK, ranges)
    config = make_config(
        data, batch_size=600, max_predictions_per_seq=9, masking=masking, shuffle_buffer_size=0,
        seed=7,
    )  # fmt: skip
    (batch,) = take(config, 1)
    static = mask_tokens(
        rows["input_ids"].astype(np.int32), rows["morpheme_ids"] > 0, starts_of(rows, unit), MASK,
        np.r_[FIRST_ID:100, 200:VOCAB_SIZE].astype(np.int32), masking.config,
        np.random.default_rng([7, 2, 0, 0, 0]),  # seed, masks, epoch, window, first record
    )  # fmt: skip
    assert len(static.targets)
    for name, values in static.features().items():
        assert batch.features[name].tobytes() == values.tobytes(), name
    assert (restored(batch.features) == rows["input_ids"]).all()


def test_batches_next_sentence_weights_are_of_the_shard(tmp_path: Path) -> None:
    data = make_data(tmp_path, [20, 20, 20])
    weights = [1.0, 0.0, 1.0]
    sources = tuple(
        ShardSource(source.path, weight)
        for source, weight in zip(data.sources, weights, strict=True)
    )
    (batch,) = InstanceReader(make_config(data, shards=sources, batch_size=61)).one_epoch()
    found = batch.features["next_sentence_weights"]
    assert found.dtype == np.float32
    assert found.tolist() == [weights[shard] for shard, _ in places([batch])] + [0.0]
    assert found.sum() == 40


@pytest.mark.parametrize("names", ["v1", "v2"])
def test_batches_both_feature_names_are_read_to_narrow_arrays(
    names: FeatureNames, tmp_path: Path
) -> None:
    data = make_data(tmp_path, [6], names=names)
    batches = take(make_config(data, feature_names=names), 4)
    assert_content(batches, data, False)
    dtypes = {name: str(values.dtype) for name, values in batches[0].features.items()}
    floats = {"masked_lm_weights", "next_sentence_weights"}
    assert dtypes == {name: "float32" if name in floats else "int32" for name in dtypes}
    assert dtypes.keys() == {*data.rows[0], "next_sentence_weights"}


@pytest.mark.parametrize(
    ("feature", "dynamic"), [("input_ids", False), ("input_ids", True), ("masked_lm_ids", False)]
)
def test_batches_id_beyond_the_vocabulary_names_shard_and_record(
    feature: str, dynamic: bool, tmp_path: Path
) -> None:
    data = make_data(tmp_path, [30, 30, 30], dynamic)
    data.rows[1][feature][17, 2] = VOCAB_SIZE - 1
    write_shard(Path(data.sources[1].path), data.rows[1], dynamic)
    assert len(list(InstanceReader(make_config(data, dynamic)).one_epoch())) == 18
    data.rows[1][feature][17, 2] = VOCAB_SIZE
    write_shard(Path(data.sources[1].path), data.rows[1], dynamic)
    expected = (
        rf"^{re.escape(data.sources[1].path)}: record 17: piece id 500, but vocab_size is 500 in "
    )
    with pytest.raises(ValueError, match=expected):
        list(InstanceReader(make_config(data, dynamic)).one_epoch())


def test_batches_other_lengths_name_shard_record_and_flag(tmp_path: Path) -> None:
    data = make_data(tmp_path, [5])
    path = re.escape(data.sources[0].path)
    for values in ({"max_seq_length": LENGTH + 1}, {"max_predictions_per_seq": 3}):
        with pytest.raises(ValueError, match=rf"^{path}: record \d: .*{next(iter(values))}.* diff"):
            take(make_config(data, **values), 1)
    with pytest.raises(ValueError, match=rf"^{path}: record \d: .*'morpheme_ids' is missing"):
        take(make_config(data, True), 1)


def test_batches_damaged_record_in_a_shuffled_chunk_is_the_one_named(tmp_path: Path) -> None:
    data = make_data(tmp_path, [40, 40])
    path = Path(data.sources[1].path)
    rows = data.rows[1]
    head = {name: values[:25] for name, values in rows.items()}
    wrong = make_rows(1, LENGTH + 2, False, 1)
    write_shard(path, head, False)
    other = tmp_path / "other"
    write_shard(other, wrong, False)
    path.write_bytes(path.read_bytes() + other.read_bytes())
    expected = rf"^{re.escape(str(path))}: record 25: feature 'input_ids' has 26 values, 24 were"
    with pytest.raises(ValueError, match=expected):
        list(InstanceReader(make_config(data)).one_epoch())


@pytest.mark.parametrize("shuffle_buffer_size", [0, 100])
def test_batches_all_shards_empty_raises(shuffle_buffer_size: int, tmp_path: Path) -> None:
    data = make_data(tmp_path, [0, 0, 0])
    config = make_config(data, shuffle_buffer_size=shuffle_buffer_size, interleave=2)
    for batches in (InstanceReader(config).batches(), InstanceReader(config).one_epoch()):
        with pytest.raises(
            ValueError, match=r"^no records in 3 shards \(the first is .*0-False\); "
        ):
            next(batches)


def test_batches_shards_that_end_with_a_window_are_no_epoch_of_their_own(tmp_path: Path) -> None:
    # Whether a shard has ended is known only when the next window reads nothing.
    sizes = [10, 10]
    data = make_data(tmp_path, sizes)
    for buffer in (20, 10, 4):
        config = make_config(data, shuffle_buffer_size=buffer, interleave=2, batch_size=4)
        batches = take(config, 10)
        assert [batch.epoch for batch in batches] == [0] * 5 + [1] * 5
        assert sorted(places(batches[:5])) == sorted(places(batches[5:])) == all_places(sizes)
        assert places(batches[:5]) != places(batches[5:])


def test_instance_reader_numpy_alone_is_enough(tmp_path: Path) -> None:
    # A benchmark reads shards on a machine that has nothing else.
    data = make_data(tmp_path, [30], True)
    script = f"""
import sys

class Refuse:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] not in {{*sys.stdlib_module_names, "bert_ko", "numpy"}}:
            raise ImportError(name)

sys.meta_path.insert(0, Refuse)
from bert_ko.data.masking import MaskingConfig
from bert_ko.data.reader import DynamicMasking, InstanceReader, ReaderConfig, ShardSource
masking = DynamicMasking("morpheme", MaskingConfig(0.15, {PREDICTIONS}), {MASK},
                         (({FIRST_ID}, {VOCAB_SIZE - 1}),))
config = ReaderConfig((ShardSource({data.sources[0].path!r}),), 30, {LENGTH}, {PREDICTIONS},
                      {VOCAB_SIZE}, masking=masking)
print(next(InstanceReader(config).batches()).features["input_ids"].tolist())
assert "google_crc32c" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (batch,) = take(make_config(data, True, batch_size=30), 1)
    assert json.loads(done.stdout) == batch.features["input_ids"].tolist()


# Packed


def packed_config(data: Data, dynamic: bool = False, **values: Any) -> ReaderConfig:
    """Rows of up to four sequences and six masked pieces."""
    limits = RowLimits(LENGTH, 4, 6)
    return make_config(data, dynamic, **{"packing": limits, "batch_size": 3, **values})


def instance(features: Rows, row: int, here: slice, slot: int | None) -> dict[str, Any]:
    """One sequence of a batch, its positions counted from its beginning."""
    targets = np.flatnonzero(features["masked_lm_weights"][row])
    positions = features["masked_lm_positions"][row, targets]
    mine = (positions >= here.start) & (positions < here.stop)
    label = features["next_sentence_labels"][row, slot or 0]
    weights = features["next_sentence_weights"]
    return {
        "input_ids": features["input_ids"][row, here].tolist(),
        "segment_ids": features["segment_ids"][row, here].tolist(),
        "masked_lm_positions": (positions[mine] - here.start).tolist(),
        "masked_lm_ids": features["masked_lm_ids"][row, targets[mine]].tolist(),
        "next_sentence": (int(label), float(weights[row] if slot is None else weights[row, slot])),
    }


def unpacked(batches: Sequence[RecordBatch]) -> list[dict[str, Any]]:
    """The sequences of batches that are not packed, in order."""
    return [
        instance(batch.features, row, slice(0, int(batch.features["input_mask"][row].sum())), None)
        for batch in batches
        for row in range(np.count_nonzero(batch.shards >= 0))
    ]


def from_rows(batches: Sequence[RecordBatch]) -> list[dict[str, Any]]:
    """The sequences of packed batches, row after row."""
    found = []
    for batch in batches:
        starts, lengths = (batch.features[name] for name in ("first_positions", "sequence_lengths"))
        for row, slot in zip(*np.nonzero(lengths), strict=True):
            start, stop = starts[row, slot], starts[row, slot] + lengths[row, slot]
            assert batch.features["sequence_ids"][row, start:stop].tolist() == [slot + 1] * (
                stop - start
            )
            assert batch.features["position_ids"][row, start:stop].tolist() == list(
                range(stop - start)
            )
            found.append(instance(batch.features, row, slice(start, stop), slot))
        assert np.count_nonzero(batch.features["sequence_ids"]) == lengths.sum()
        assert np.count_nonzero(batch.features["input_mask"]) == lengths.sum()
    return found


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(SETTINGS)
def test_packed_one_epoch_has_the_sequences_and_masks_of_the_unpacked(
    folder: Path, setting: Setting
) -> None:
    with setting.apply(folder) as (data, config):
        sources = tuple(
            ShardSource(source.path, float(number % 2))
            for number, source in enumerate(data.sources)
        )
        config = dataclasses.replace(config, shards=sources)
        plain = list(InstanceReader(config).one_epoch())
        packing = dataclasses.replace(config, packing=RowLimits(LENGTH, 4, 6))
        packed = list(InstanceReader(packing).one_epoch())
    by_place = dict(zip(places(plain), unpacked(plain), strict=True))
    assert dict(zip(places(packed), from_rows(packed), strict=True)) == by_place
    assert len(places(packed)) == len(by_place) == sum(setting.sizes)
    for batch in packed:
        shapes = {name: values.shape[1:] for name, values in batch.features.items()}
        assert set(shapes.values()) == {(LENGTH,), (4,), (6,)}
        assert {len(values) for values in batch.features.values()} == {setting.batch_size}


@pytest.mark.parametrize("dynamic", [False, True])
def test_packed_batches_resume_bit_for_bit_after_each(dynamic: bool, tmp_path: Path) -> None:
    # Windows of 10 to 20 sequences, which end inside batches, and epochs of 51.
    data = make_data(tmp_path, [20, 0, 18, 13], dynamic)
    config = packed_config(data, dynamic, shuffle_buffer_size=20, interleave=2)
    batches = take(config, 20)
    assert batches[-1].epoch == 1 and len({b.position["window"] for b in batches}) > 2
    for count, batch in enumerate(batches, 1):
        position = json.loads(json.dumps(batch.position))
        following = batches[count : count + 8]
        assert_same(take(config, len(following), position), following)


def test_packed_batches_rows_are_fuller_and_counted_by_the_position(tmp_path: Path) -> None:
    data = make_data(tmp_path, [300])
    config = packed_config(data, batch_size=10, packing=RowLimits(LENGTH, 8, 12))
    batches = take(config, 12)
    assert [batch.position["used"] for batch in batches] == list(range(10, 130, 10))
    masks = np.concatenate([batch.features["input_mask"] for batch in batches])
    assert masks.mean() > 0.9
    plain = take(make_config(data, batch_size=300), 1)[0].features["input_mask"]
    assert plain.mean() < 0.75


def test_packed_batches_without_shuffle_and_of_few_sequences_are_packed_too(tmp_path: Path) -> None:
    data = make_data(tmp_path, [3])
    config = packed_config(data, shuffle_buffer_size=0)
    batches = take(config, 5)
    assert [batch.epoch for batch in batches] == sorted(batch.epoch for batch in batches)
    assert places(batches)[:3] == all_places([3])  # a window of three sequences
    assert {tuple(place) for place in places(batches)} == set(all_places([3]))


def test_packed_reader_announces_its_first_window_once(tmp_path: Path) -> None:
    data = make_data(tmp_path, [50])
    heard: list[str] = []
    reader = InstanceReader(packed_config(data, shuffle_buffer_size=20), None, heard.append)
    with contextlib.closing(reader.batches()) as batches:
        list(itertools.islice(batches, 40))
    (line,) = heard
    assert re.fullmatch(
        r"packed: \d\.\d\d sequences in a row of 24 pieces, \d+\.\d% padding instead of \d+\.\d% "
        r"\(the first 20 sequences\)",
        line,
    )


def test_packed_batches_closed_leave_no_thread_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path, [90] * 4)
    streams: list[Any] = []
    open_binary = files.open_binary
    monkeypatch.setattr(
        files, "open_binary", lambda path: streams.append(open_binary(path)) or streams[-1]
    )
    before = threading.active_count()
    take(packed_config(data, shuffle_buffer_size=30), 3)
    assert threading.active_count() == before
    assert streams and all(stream.closed for stream in streams)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("gap", "input_mask has gaps or no piece at all"),
        ("empty", "input_mask has gaps or no piece at all"),
        ("beyond", "masked_lm_positions are beyond its pieces"),
    ],
)
def test_packed_batches_instance_that_would_harm_others_is_named(
    change: str, fault: str, tmp_path: Path
) -> None:
    data = make_data(tmp_path, [30, 30])
    rows = data.rows[1]
    if change == "beyond":
        rows["masked_lm_positions"][17, 1] = rows["input_mask"][17].sum()
        rows["masked_lm_weights"][17, 1] = 1
    else:
        rows["input_mask"][17, slice(2, 3) if change == "gap" else slice(None)] = 0
    path = data.sources[1].path
    write_shard(Path(path), rows, False)
    assert len(list(InstanceReader(make_config(data)).one_epoch())) == 12
    expected = rf"^{re.escape(path)}: record 17: {fault}, so that it can't be packed; leave out"
    with pytest.raises(ValueError, match=expected):
        take(packed_config(data), 1)


@pytest.mark.slow
@pytest.mark.parametrize("packing", [None, RowLimits(LENGTH, 4, 2 * PREDICTIONS)])
@pytest.mark.parametrize("parts", [1, 2])
def test_batches_of_shares_are_the_rows_of_the_whole(
    packing: RowLimits | None, parts: int, tmp_path: Path
) -> None:
    data = make_data(tmp_path, [700, 900, 650], dynamic=True)
    config = make_config(
        data, True, batch_size=24, seed=3, shuffle_buffer_size=1500, packing=packing
    )
    whole = itertools.islice(InstanceReader(config).batches(), 60)
    shares = [Share(index, 3, parts) for index in range(3)]
    readers = [
        InstanceReader(dataclasses.replace(config, share=share)).batches() for share in shares
    ]
    for batch, *found in zip(whole, *readers, strict=False):
        for share, own in zip(shares, found, strict=True):
            assert (own.position, own.epoch) == (batch.position, batch.epoch)
            assert own.shards.tolist() == batch.shards.tolist()
            wanted = share.of(batch.features)
            assert own.features.keys() == wanted.keys()
            assert all((own.features[name] == wanted[name]).all() for name in wanted)
    for reader in readers:
        reader.close()


def test_batches_of_a_share_decode_only_chunks_with_rows_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path, [4 * module._CHUNK])
    decoded = []
    decode = module.ExampleDecoder.decode
    monkeypatch.setattr(
        module.ExampleDecoder,
        "decode",
        lambda self, found: decoded.append(len(found)) or decode(self, found),
    )
    config = make_config(data, batch_size=4 * module._CHUNK, shuffle_buffer_size=0)
    for count, wanted in ((1, 4), (2, 2), (4, 1)):
        decoded.clear()
        reader = InstanceReader(dataclasses.replace(config, share=Share(count - 1, count)))
        batches = reader.batches()
        next(batches)
        batches.close()
        assert decoded == [module._CHUNK] * wanted
