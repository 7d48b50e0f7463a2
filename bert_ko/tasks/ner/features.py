"""Tagged sentences to stretches of pieces, and tags of pieces to tags of sentences.

A unit is a character or a word, see ``examples.Sentence``; a piece covers some characters of the
text. A piece that covers several units, or parts of them, has one tag all the same.

Legend: W stretches, P pieces of all of them, B batch, L length of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bert_ko.modeling.heads import HostBatch
from bert_ko.tasks.batches import Ints
from bert_ko.tasks.ner.bio import OUTSIDE, repair_bio
from bert_ko.tasks.ner.examples import Sentence
from bert_ko.tasks.sentences import (
    NOWHERE,
    AnyTokenizer,
    Sentences,
    begun,
    encode_stretches,
    with_characters,
)


@dataclass(frozen=True)
class TagFeatures:
    """Sentences as the model gets them.

    Attributes:
        texts: the sentences.
        stretches: their pieces; a long sentence has several stretches.
        owners: int32 [W], the sentence of each, ascending.
        tag_ids: int32 [P], number of each piece's tag; 0 for [CLS], [SEP] and where unknown.
    """

    texts: Sequence[Sentence]
    stretches: Sentences
    owners: Ints
    tag_ids: Ints

    @property
    def lengths(self) -> Ints:
        """int32 [W], pieces of each stretch."""
        return self.stretches.lengths

    @property
    def sentences(self) -> Sentences:
        """The stretches, as a class's features call them."""
        return self.stretches

    def gather(self, rows: Ints, length: int, special_ids: tuple[int, int, int]) -> HostBatch:
        """The inputs of stretches and their tag_ids, int32 [B, L]; see ``batches.Examples``."""
        places, mask = self.stretches.places(rows, length)
        return {
            **self.stretches.gather(rows, length, special_ids),
            "tag_ids": np.where(mask, self.tag_ids[places], np.int32(0)),
        }

    def with_layers(self, keep: Callable[[Sentences], Sentences]) -> Self:
        """The same with the layers of a biLM, which are ``kept`` of their pieces."""
        return replace(self, stretches=keep(self.stretches))

    def describe(self, rows: Ints) -> str:
        """Names the sentences of stretches by their numbers, for a message."""
        owners = (self.texts[i].sentence_id for i in self.owners[rows])
        return f"the sentences {', '.join(owners)}"


class Tagged(NamedTuple):
    """The predicted tags of a sentence's units.

    Attributes:
        tags: of each unit.
        confidences: float32, of each unit: the probability of the tag of the piece that decided;
            1 where none did.
    """

    tags: tuple[str, ...]
    confidences: npt.NDArray[np.float32]


def tag_features(
    sentences: Sequence[Sentence],
    tokenizer: AnyTokenizer,
    max_seq_length: int,
    labels: Sequence[str],
) -> TagFeatures:
    """Cuts sentences into pieces, and gives each the tag of its characters.

    Args:
        sentences: with tags or without.
        tokenizer: of the model.
        max_seq_length: pieces of a stretch.
        labels: all tags; none to ignore those of the sentences.
    """
    numbers = {label: i for i, label in enumerate(labels)}
    tokenizer = begun(tokenizer)
    encodings = [tokenizer.encode(sentence.text) for sentence in sentences]
    stretches, owners = encode_stretches(encodings, tokenizer.vocab, max_seq_length)
    stretches = with_characters(stretches, tokenizer)
    tag_ids = np.zeros(stretches.num_pieces, np.int32)
    found = [
        numbers[tag]
        for sentence, encoding in zip(sentences, encodings, strict=True)
        if sentence.tags and labels
        for tag in piece_tags(
            sentence, np.array(encoding.starts, np.int32), np.array(encoding.ends, np.int32)
        )
    ]
    if found:
        is_tagged = np.repeat([bool(sentences[i].tags) for i in owners], stretches.lengths)
        tag_ids[is_tagged & (stretches.starts != NOWHERE)] = found
    return TagFeatures(sentences, stretches, owners, tag_ids)


def tag_sentences(
    features: TagFeatures,
    tag_ids: Ints,
    probabilities: npt.NDArray[np.float32],
    labels: Sequence[str],
) -> list[Tagged]:
    """Joins the tags of pieces to tags of sentences.

    Args:
        features: of the sentences.
        tag_ids: int32 [P], predicted.
        probabilities: float32 [P], of the same.
        labels: all tags.
    """
    sentences, stretches = features.texts, features.stretches
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
    """Of the first piece that covers some of each unit; 1 where there is none."""
    first = np.searchsorted(ends, sentence.starts, side="right")
    none = np.iinfo(np.int32).max
    is_covered = np.append(starts, none)[first] < np.array(sentence.ends, np.int32)
    return np.where(is_covered, np.append(chances, np.float32(1))[first], np.float32(1))


def piece_tags(sentence: Sentence, starts: Ints, ends: Ints) -> tuple[str, ...]:
    """The tag of each piece, well-formed: that of its first unit.

    A piece between units, or of no character (SentencePiece has such), belongs to an entity that
    continues after it; otherwise it is O.

    Args:
        sentence: with tags.
        starts: first character of each piece, ascending, int32 [P].
        ends: the character after its last, int32 [P].
    """
    found: list[str | None] = []
    tagged = -1  # the last unit that gave a piece its tag
    for first, last in _ranges(sentence, starts, ends):
        if first >= last:
            found.append(None)
            continue
        tag = sentence.tags[first]
        found.append(_inside(tag) if first == tagged else tag)
        tagged = first
    return repair_bio(_filled(found))


def unit_tags(sentence: Sentence, starts: Ints, ends: Ints, tags: Sequence[str]) -> tuple[str, ...]:
    """The tag of each unit, well-formed: that of the first piece that covers some of it.

    A unit without pieces (a blank, what normalisation removes) belongs to an entity that continues
    after it; otherwise it is O.

    Args:
        sentence: with units.
        starts: first character of each piece, ascending, int32 [P].
        ends: the character after its last, int32 [P].
        tags: of the pieces, P.
    """
    found: list[str | None] = [None] * len(sentence.starts)
    for (first, last), tag in zip(_ranges(sentence, starts, ends), tags, strict=True):
        for unit in range(first, last):
            if found[unit] is None:
                found[unit] = tag if unit == first else _inside(tag)
    return repair_bio(_filled(found))


def _ranges(sentence: Sentence, starts: Ints, ends: Ints) -> list[tuple[int, int]]:
    """The first unit that each piece covers, and the one after the last."""
    first = np.searchsorted(sentence.ends, starts, side="right").tolist()
    last = np.searchsorted(sentence.starts, ends, side="left").tolist()
    return list(zip(first, last, strict=True))


def _inside(tag: str) -> str:
    return tag if tag == OUTSIDE else f"I-{tag[2:]}"


def _filled(tags: Sequence[str | None]) -> list[str]:
    """A gap belongs to the entity before it if that continues after it; otherwise it is O."""
    following, rest = OUTSIDE, list[str]()  # the next known tag from every place on
    for tag in reversed(tags):
        following = tag or following
        rest.append(following)
    filled: list[str] = []
    for tag, following in zip(tags, reversed(rest), strict=True):
        if tag is None:
            before = filled[-1] if filled else OUTSIDE
            tag = following if following == _inside(before) else OUTSIDE
        filled.append(tag)
    return filled
