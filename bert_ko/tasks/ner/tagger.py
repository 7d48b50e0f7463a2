"""A trained tagger: sentences to named entities.

Legend: P pieces of all stretches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from bert_ko.modeling.heads import TAG_TRANSITIONS, TAG_WEIGHTS, Head, TagHead
from bert_ko.tasks.batches import BatchPlan, predictions
from bert_ko.tasks.labelling import Labeller
from bert_ko.tasks.ner.bio import entities, tagged_text
from bert_ko.tasks.ner.examples import Sentence, plain_sentence
from bert_ko.tasks.ner.features import TagFeatures, Tagged, tag_features, tag_sentences
from bert_ko.tasks.word_networks import trained_network
from bert_ko.training.labels import LABELS_NAME, Labels
from bert_ko.training.model_files import TrainedModel


@dataclass(frozen=True)
class TaggedEntity:
    """A named entity of a text, text[start:end]."""

    label: str  # its type, such as "PS"
    text: str
    start: int
    end: int
    probability: float  # the least of its characters or words


class Tagger(Labeller):
    """Finds the named entities of texts of any length."""

    kind = "tagger"
    variable = TAG_WEIGHTS

    @classmethod
    def find_head(cls, model: TrainedModel) -> tuple[Labels, Head]:
        """The tags, and a head with a CRF or without.

        Raises:
            ValueError: the tags are not known.
        """
        labels = model.source.labels
        if not labels:
            raise ValueError(f"no labels beside {model.source.path}: {LABELS_NAME} is missing.")
        network = trained_network(model.config, model.remembered, model.source.path)
        use_crf = TAG_TRANSITIONS in model.source.arrays
        return labels, TagHead(labels, use_crf, network=network)

    @overload
    def tag(self, texts: str) -> list[TaggedEntity]: ...
    @overload
    def tag(self, texts: list[str] | tuple[str, ...]) -> list[list[TaggedEntity]]: ...

    def tag(self, texts: Any) -> Any:
        """Finds the entities of a text, or of each of several.

        Args:
            texts: a text, or a list of them.

        Returns:
            Entities in the order of the text; for a list, a list of them for each text.
        """
        if isinstance(texts, str):
            return self.tag([texts])[0]
        sentences = [plain_sentence(text, i) for i, text in enumerate(texts)]
        found = self.compute(self.cut(sentences))
        return [_entities(s, t) for s, t in zip(sentences, found, strict=True)]

    def cut(self, sentences: Sequence[Sentence]) -> TagFeatures:
        """Cuts sentences into pieces, ignoring their tags."""
        return tag_features(sentences, self._tokenizer, self.max_seq_length, ())

    def compute(
        self, features: TagFeatures, plan: BatchPlan | None = None, label: str | None = None
    ) -> list[Tagged]:
        """Predicts the tags of sentences.

        Args:
            features: of the sentences, whose tags are ignored.
            plan: how stretches are put into batches; None for texts of unknown lengths.
            label: of a progress line; None shows none.
        """
        stretches = features.stretches
        tag_ids = np.zeros(stretches.num_pieces, np.int32)
        probabilities = np.ones(stretches.num_pieces, np.float32)
        plan = plan or self._plan
        for rows, found in predictions(features, self._predict, plan, label, "stretches"):
            columns = zip(rows, found["tag_ids"], found["probabilities"], strict=True)
            for row, ids, chances in columns:
                first = stretches.sentence_offsets[row] + 1  # after [CLS]
                count = stretches.lengths[row] - 2
                tag_ids[first : first + count] = ids[:count]
                probabilities[first : first + count] = chances[:count]
        return tag_sentences(features, tag_ids, probabilities, self.labels)

    def records(
        self, sentences: Sequence[Sentence], found: Sequence[Tagged]
    ) -> list[dict[str, Any]]:
        """Predictions as values for JSON; see ``record``."""
        return [record(s, t) for s, t in zip(sentences, found, strict=True)]


def _entities(sentence: Sentence, tagged: Tagged) -> list[TaggedEntity]:
    found = []
    for kind, first, last in entities(tagged.tags):
        start, end = sentence.starts[first], sentence.ends[last - 1]
        probability = float(tagged.confidences[first:last].min())
        found.append(TaggedEntity(kind, sentence.text[start:end], start, end, probability))
    return found


def record(sentence: Sentence, tagged: Tagged) -> dict[str, Any]:
    """Predicted tags of a sentence as values for JSON.

    Returns:
        id, text, tagged (the text with entities in KLUE's form), entities with the characters of
        each and its least probability, tags of all units, and gold entities where they are known.
    """
    values = {
        "id": sentence.sentence_id,
        "text": sentence.text,
        "tagged": tagged_text(sentence.text, sentence.spans(tagged.tags)),
        "entities": [
            _entity(one.label, one.text, one.start) | {"probability": round(one.probability, 6)}
            for one in _entities(sentence, tagged)
        ],
        "tags": list(tagged.tags),
    }
    if sentence.tags:
        spans = sentence.spans(sentence.tags)
        values["gold"] = [_entity(kind, sentence.text[a:b], a) for kind, a, b in spans]
    return values


def _entity(kind: str, text: str, start: int) -> dict[str, Any]:
    return {"type": kind, "text": text, "start": start, "end": start + len(text)}


def tagged_lines(records: Sequence[Mapping[str, Any]]) -> str:
    """A line for each record: its id, a tab and the tagged text without its line ends."""
    texts = (record["tagged"].replace("\r", " ").replace("\n", " ") for record in records)
    return "".join(f"{record['id']}\t{text}\n" for record, text in zip(records, texts, strict=True))
