"""A few instances of shards, masked as training reads them, and their parts of speech.

Legend: N instances, L max_seq_length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from bert_ko.data.manifest import Manifest
from bert_ko.data.reader import DynamicMasking, InstanceReader, ReaderConfig, ShardSource
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import BLANK

_MOST_SHARDS, _MOST_RECORDS = 4, 1024  # that are read, and of each
# By the beginning of mecab-ko-dic's tags.
_CLASSES = {
    "NN": "nouns",
    "NP": "pronouns",
    "NR": "numerals",
    "V": "verbs and adjectives",
    "M": "determiners and adverbs",
    "J": "josa",
    "E": "endings",
    "X": "affixes and roots",
    "IC": "interjections",
    "SF": "punctuation",
    "SC": "punctuation",
    "SSO": "punctuation",
    "SSC": "punctuation",
    "SE": "punctuation",
    "SN": "numbers",
    "SL": "foreign letters",
    "SH": "Hanja",
}
OTHERS = "others"


@dataclass(frozen=True)
class Sample:
    """Instances of shards."""

    seen: npt.NDArray[np.int32]  # [N, L], what a model sees
    pieces: npt.NDArray[np.int32]  # [N, L], what stood there before
    is_target: npt.NDArray[np.bool_]  # [N, L], what it has to guess
    lengths: npt.NDArray[np.int64]  # [N]
    labels: npt.NDArray[np.int64]  # [N], of next sentences

    def _map(self, make: Callable[[str], Any]) -> Sample:
        """Makes one of the names of the fields."""
        return Sample(**{field.name: make(field.name) for field in fields(self)})

    def take(self, most: int) -> Sample:
        """Instances that are spread over all, in their order."""
        count = len(self.lengths)
        rows = np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.int64))
        return self._map(lambda name: getattr(self, name)[rows])


def spread(paths: Sequence[str], most: int = _MOST_SHARDS) -> list[str]:
    """Returns some of the shards, the first and the last among them."""
    places = np.unique(np.linspace(0, len(paths) - 1, min(most, len(paths))).astype(np.int64))
    return [paths[place] for place in places]


def read_sample(manifest: Manifest, paths: Sequence[str]) -> Sample:
    """Reads the first instances of some shards, each of which has some."""
    parts = [_read_shard(manifest, path) for path in spread(paths)]
    return parts[0]._map(lambda name: np.concatenate([getattr(part, name) for part in parts]))


def _read_shard(manifest: Manifest, path: str) -> Sample:
    flags = manifest.instances
    masking = None
    if flags.masking == "dynamic":
        assert manifest.mask_id is not None
        masking = DynamicMasking(
            flags.whole_word_unit if flags.do_whole_word_mask else "piece",
            flags.masking_config,
            manifest.mask_id,
            manifest.replacement_ranges,
        )
    config = ReaderConfig(
        shards=(ShardSource(path),),
        batch_size=_MOST_RECORDS,
        max_seq_length=flags.max_seq_length,
        max_predictions_per_seq=flags.max_predictions_per_seq,
        vocab_size=manifest.vocab_size,
        feature_names=flags.feature_names,
        masking=masking,
        seed=flags.random_seed,
        shuffle_buffer_size=0,
    )
    batch = next(InstanceReader(config).one_epoch())
    own = batch.records >= 0  # without padding
    features = {name: values[own] for name, values in batch.features.items()}
    seen = features["input_ids"]
    pieces, is_target = seen.copy(), np.zeros(seen.shape, np.bool_)
    row, target = np.nonzero(features["masked_lm_weights"])
    places = row, features["masked_lm_positions"][row, target]
    pieces[places], is_target[places] = features["masked_lm_ids"][row, target], True
    return Sample(
        seen.astype(np.int32),
        pieces.astype(np.int32),
        is_target,
        features["input_mask"].sum(axis=1, dtype=np.int64),
        features["next_sentence_labels"].reshape(-1).astype(np.int64),
    )


def starts_word(piece: str, has_model: bool) -> bool:
    """Whether a blank stands before a piece, as far as the vocabulary tells."""
    return piece.startswith(BLANK) if has_model else not piece.startswith("##")


def surface(piece: str) -> str:
    """The text of a piece."""
    return piece.removeprefix("##").removeprefix(BLANK)


def masked_by_class(tokenizer: Tokenizer, sample: Sample) -> tuple[Counter[str], Counter[str], int]:
    """Counts pieces, and masked ones, by the class of their morphemes.

    Returns:
        Both, and how many segments they are of: the text is put together from its pieces, and a
        segment is left out that is then cut into others.
    """
    pieces: Counter[str] = Counter()
    masked: Counter[str] = Counter()
    segments = 0
    for ids, targets in _segments(tokenizer, sample):
        names = [tokenizer.vocab.pieces[i] for i in ids]
        text = "".join(" " * starts_word(name, False) + surface(name) for name in names).strip()
        encoding = tokenizer.encode(text, with_morphemes=True)
        if encoding.ids != ids or len(encoding.morphemes) <= max(encoding.morpheme_ids):
            continue
        segments += 1
        for morpheme, is_target in zip(encoding.morpheme_ids, targets, strict=True):
            name = word_class(encoding.morphemes[morpheme].pos)
            pieces[name] += 1
            masked[name] += is_target
    return pieces, masked, segments


def _segments(tokenizer: Tokenizer, sample: Sample) -> list[tuple[list[int], list[bool]]]:
    """The pieces of each segment without special ones, and which are masked."""
    found = []
    special = {tokenizer.vocab[name] for name in ("[CLS]", "[SEP]")}
    for row, length in enumerate(sample.lengths.tolist()):
        ids, targets = sample.pieces[row, :length].tolist(), sample.is_target[row, :length].tolist()
        here: tuple[list[int], list[bool]] = ([], [])
        for id, is_target in zip(ids, targets, strict=True):
            if id not in special:
                here[0].append(id)
                here[1].append(is_target)
            elif here[0]:
                found.append(here)
                here = ([], [])
    return found


def word_class(pos: str) -> str:
    """The class of a morpheme, by the first of its tags."""
    tag: Any = pos.partition("+")[0]
    return next((name for start, name in _CLASSES.items() if tag.startswith(start)), OTHERS)
