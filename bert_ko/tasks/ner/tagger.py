"""A trained tagger: sentences to named entities.

Legend: P pieces of all stretches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from bert_ko.modeling.heads import TAG_TRANSITIONS, TAG_WEIGHTS, TagHead
from bert_ko.tasks.batches import BatchPlan, predictions
from bert_ko.tasks.loading import BATCH_SIZE, Loadable, find_length, place
from bert_ko.tasks.ner.bio import Entity, entities, tagged_text
from bert_ko.tasks.ner.examples import Sentence, plain_sentence
from bert_ko.tasks.ner.features import TagFeatures, Tagged, tag_features, tag_sentences
from bert_ko.tasks.settings import LabelFlags
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.backend import Predict
from bert_ko.training.labels import LABELS_NAME, Labels
from bert_ko.training.model_files import TrainedModel


@dataclass(frozen=True)
class TaggedEntity:
    """A named entity of a text.

    Attributes:
        label: its type, such as "PS".
        text: text[start:end] of the sentence.
        start: its first character.
        end: the character after its last.
        probability: the least of those of its characters or words.
    """

    label: str
    text: str
    start: int
    end: int
    probability: float


class Tagger(Loadable):
    """Finds the named entities of texts of any length."""

    kind = "tagger"
    variable = TAG_WEIGHTS

    def __init__(
        self,
        tokenizer: Tokenizer,
        labels: Labels,
        max_seq_length: int,
        plan: BatchPlan,
        predict: Predict,
    ):
        """Joins the parts; ``bert_ko.load`` makes them.

        Args:
            tokenizer: of the model.
            labels: all tags.
            max_seq_length: pieces of a stretch; a longer text has several.
            plan: how stretches of unknown lengths are put into batches.
            predict: input_ids, input_mask, segment_ids int32 [B, L] to the head's outputs.
        """
        self.labels, self.max_seq_length = labels, max_seq_length
        self._tokenizer, self._plan, self._predict = tokenizer, plan, predict

    @classmethod
    def from_model(
        cls,
        model: TrainedModel,
        *,
        max_seq_length: int | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> Tagger:
        """Places an opened model on devices.

        Args:
            model: open, with a CRF or without.
            max_seq_length: pieces of a stretch; None for what it was trained with.
            batch_size: stretches that are computed together.

        Raises:
            ValueError: the model is no tagger, its tags are not known, or it has fewer positions.
        """
        length = find_length(model, max_seq_length, LabelFlags.max_seq_length)
        labels = model.source.labels or ()
        if not labels:
            raise ValueError(f"no labels beside {model.source.path}: {LABELS_NAME} is missing.")
        head = TagHead(labels, use_crf=TAG_TRANSITIONS in model.source.arrays)
        predict, plan = place(model, head, length, batch_size)
        return cls(model.tokenizer, labels, length, plan, predict)

    @overload
    def tag(self, texts: str) -> list[TaggedEntity]: ...
    @overload
    def tag(self, texts: list[str] | tuple[str, ...]) -> list[list[TaggedEntity]]: ...

    def tag(self, texts: Any) -> Any:
        """Finds the entities of a text, or of each of several.

        Args:
            texts: a text, or a list of them.

        Returns:
            Entities in the order of the text; of a list a list of them for each text.
        """
        if isinstance(texts, str):
            return self.tag([texts])[0]
        sentences = [plain_sentence(text, i) for i, text in enumerate(texts)]
        found = self.compute(sentences, self.cut(sentences))
        return [tagged_entities(s, t) for s, t in zip(sentences, found, strict=True)]

    def cut(self, sentences: Sequence[Sentence]) -> TagFeatures:
        """Cuts sentences into pieces; their tags are not looked at."""
        return tag_features(sentences, self._tokenizer, self.max_seq_length, ())

    def compute(
        self,
        sentences: Sequence[Sentence],
        features: TagFeatures,
        plan: BatchPlan | None = None,
        label: str | None = None,
    ) -> list[Tagged]:
        """What the model says of sentences.

        Args:
            sentences: whose tags are not looked at.
            features: of the same.
            plan: how stretches are put into batches; None for lengths that were not known before.
            label: of a progress line; None shows none.
        """
        stretches = features.stretches
        tag_ids = np.zeros(stretches.num_pieces, np.int32)
        probabilities = np.ones(stretches.num_pieces, np.float32)
        plan = plan or self._plan
        for rows, found in predictions(features, self._predict, plan, label, "stretches"):
            columns = zip(rows, found["tag_ids"], found["probabilities"], strict=True)
            for row, ids, chances in columns:
                first = stretches.sentence_offsets[row] + 1  # behind [CLS]
                count = stretches.lengths[row] - 2
                tag_ids[first : first + count] = ids[:count]
                probabilities[first : first + count] = chances[:count]
        return tag_sentences(sentences, features, tag_ids, probabilities, self.labels)


def tagged_entities(sentence: Sentence, tagged: Tagged) -> list[TaggedEntity]:
    """The entities of a sentence, in characters of its text."""
    found = []
    for kind, first, last in entities(tagged.tags):
        start, end = sentence.starts[first], sentence.ends[last - 1]
        probability = float(tagged.confidences[first:last].min())
        found.append(TaggedEntity(kind, sentence.text[start:end], start, end, probability))
    return found


def record(sentence: Sentence, tagged: Tagged) -> dict[str, Any]:
    """What was said of a sentence, as values for JSON.

    Args:
        sentence: with its tags, where these are known.
        tagged: of the same.

    Returns:
        id, text, tagged (the text with entities in KLUE's form), entities with the characters of
        each and its least probability, tags of all units, and gold entities where they are known.
    """
    values = {
        "id": sentence.sentence_id,
        "text": sentence.text,
        "tagged": tagged_text(sentence.text, sentence.spans(tagged.tags)),
        "entities": [
            {
                **_entity(sentence.text, Entity(found.label, found.start, found.end)),
                "probability": round(found.probability, 6),
            }
            for found in tagged_entities(sentence, tagged)
        ],
        "tags": list(tagged.tags),
    }
    if sentence.tags:
        values["gold"] = [_entity(sentence.text, span) for span in sentence.spans(sentence.tags)]
    return values


def _entity(text: str, entity: Entity) -> dict[str, Any]:
    kind, start, end = entity
    return {"type": kind, "text": text[start:end], "start": start, "end": end}
