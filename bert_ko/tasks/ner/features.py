"""Tagged sentences to stretches of pieces, and tags of pieces to tags of sentences.

Legend: W stretches, P pieces of all of them, B batch, L length of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.modeling.heads import HostBatch
from bert_ko.tasks.batches import Ints
from bert_ko.tasks.ner.alignment import piece_tags, unit_tags
from bert_ko.tasks.ner.examples import Sentence
from bert_ko.tasks.sentences import NOWHERE, Sentences, encode_stretches
from bert_ko.tokenization.tokenizer import Encoding, Tokenizer


@dataclass(frozen=True)
class TagFeatures:
    """Sentences as the model gets them.

    Attributes:
        stretches: their pieces; a sentence that is too long has several stretches.
        owners: int32 [W], the sentence of each, ascending.
        tag_ids: int32 [P], number of each piece's tag; 0 for [CLS], [SEP] and where tags are not
            known.
    """

    stretches: Sentences
    owners: Ints
    tag_ids: Ints

    @property
    def lengths(self) -> Ints:
        """[W], pieces of each stretch."""
        return self.stretches.lengths

    def gather(self, rows: Ints, length: int, special_ids: tuple[int, int, int]) -> HostBatch:
        """The inputs of stretches and their tag_ids, int32 [B, L]; see ``batches.Examples``."""
        places, mask = self.stretches.places(rows, length)
        return {
            **self.stretches.gather(rows, length, special_ids),
            "tag_ids": np.where(mask, self.tag_ids[places], np.int32(0)),
        }


class Tagged(NamedTuple):
    """What a model says of a sentence.

    Attributes:
        tags: of its units.
        confidences: float32, of its units: the probability of the tag of the piece that decided;
            1 where there was none.
    """

    tags: tuple[str, ...]
    confidences: npt.NDArray[np.float32]


def tag_features(
    sentences: Sequence[Sentence], tokenizer: Tokenizer, max_seq_length: int, labels: Sequence[str]
) -> TagFeatures:
    """Cuts sentences into pieces, and gives each the tag of its characters.

    Args:
        sentences: with tags or without.
        tokenizer: of the model.
        max_seq_length: pieces of a stretch.
        labels: all tags; none where those of the sentences do not matter.
    """
    numbers = {label: i for i, label in enumerate(labels)}
    encodings = [tokenizer.encode(sentence.text) for sentence in sentences]
    stretches, owners = encode_stretches(encodings, tokenizer.vocab, max_seq_length)
    tag_ids = np.zeros(stretches.num_pieces, np.int32)
    found = [
        numbers[tag]
        for sentence, encoding in zip(sentences, encodings, strict=True)
        if sentence.tags and labels
        for tag in piece_tags(sentence, *_places(encoding))
    ]
    if found:
        is_tagged = np.repeat([bool(sentences[i].tags) for i in owners], stretches.lengths)
        tag_ids[is_tagged & (stretches.starts != NOWHERE)] = found
    return TagFeatures(stretches, owners, tag_ids)


def _places(encoding: Encoding) -> tuple[Ints, Ints]:
    return np.array(encoding.starts, np.int32), np.array(encoding.ends, np.int32)


def tag_sentences(
    sentences: Sequence[Sentence],
    features: TagFeatures,
    tag_ids: Ints,
    probabilities: npt.NDArray[np.float32],
    labels: Sequence[str],
) -> list[Tagged]:
    """Joins the tags of pieces to tags of sentences.

    Args:
        sentences: of the features.
        features: of the sentences.
        tag_ids: int32 [P], predicted.
        probabilities: float32 [P], of the same.
        labels: all tags.
    """
    stretches = features.stretches
    is_text = stretches.starts != NOWHERE
    counts = np.bincount(
        np.repeat(features.owners, stretches.lengths)[is_text], minlength=len(sentences)
    )
    ends = np.cumsum(counts)
    columns = [a[is_text] for a in (stretches.starts, stretches.ends, tag_ids, probabilities)]
    found = []
    for sentence, start, end in zip(sentences, ends - counts, ends, strict=True):
        starts, stops, ids, chances = (column[start:end] for column in columns)
        tags = unit_tags(sentence, starts, stops, [labels[i] for i in ids])
        found.append(Tagged(tags, _confidences(sentence, starts, stops, chances)))
    return found


def _confidences(
    sentence: Sentence, starts: Ints, ends: Ints, chances: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Each unit has that of the first piece that covers some of it; 1 where there is none."""
    first = np.searchsorted(ends, sentence.starts, side="right")
    none = np.iinfo(np.int32).max
    is_covered = np.append(starts, none)[first] < np.array(sentence.ends, np.int32)
    return np.where(is_covered, np.append(chances, np.float32(1))[first], np.float32(1))
