"""A featurizer: texts to the vectors of a model's layers.

Legend: P pieces of a text, N layers, H hidden_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args, overload

import numpy.typing as npt

from bert_ko.tasks.features.extraction import (
    DType,
    Extractor,
    FeatureSettings,
    Pooling,
    load_extractor,
    parse_layers,
    sentence_slice,
)
from bert_ko.tasks.loading import Loadable, find_length, require_choice, require_positive
from bert_ko.tasks.sentences import Sentences, TextOrPair, encode_texts
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.model_files import TrainedModel
from bert_ko.training.positions import UntrainedPositions


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """The pieces of a text or of a pair of texts, and their vectors.

    Attributes:
        pieces: of the vocabulary, with [CLS] and [SEP].
        offsets: first character of each piece in its own text, and the one after its last; (0, 0)
            for [CLS] and [SEP].
        segment_ids: 1 for the pieces of the second text.
        vectors: float [P, N, H], with pooling [N, H]; the layers in the order given.
    """

    pieces: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]
    segment_ids: tuple[int, ...]
    vectors: npt.NDArray[Any]


class Featurizer(Loadable):
    """Gives the pieces of texts, or whole texts, the vectors of a model's layers."""

    kind = "features"
    variable = None

    def __init__(self, tokenizer: Tokenizer, extractor: Extractor):
        """``bert_ko.load`` makes one."""
        self._tokenizer, self._extractor = tokenizer, extractor

    @classmethod
    def from_model(
        cls,
        model: TrainedModel,
        *,
        layers: Sequence[int] = (-1,),
        pooling: Pooling = "none",
        dtype: DType = "float32",
        max_seq_length: int | None = None,
        batch_size: int = FeatureSettings.batch_size,
        untrained_positions: UntrainedPositions = "extend",
    ) -> Featurizer:
        """Places an opened model on devices.

        Args:
            model: open, of any kind.
            layers: -1 is the last one, 0 the first.
            pooling: none for the vector of each piece; mean or cls for one vector per text.
            dtype: of the vectors.
            max_seq_length: pieces of a text or pair; by default as in training.
            batch_size: texts that are computed together.
            untrained_positions: what positions that training has not reached are computed with:
                extend for the trained ones repeated, keep for the values that they have.

        Raises:
            ValueError: the model does not have such layers, or a setting does not fit it.
        """
        require_choice("pooling", pooling, get_args(Pooling))
        require_choice("dtype", dtype, get_args(DType))
        length = find_length(model, max_seq_length, FeatureSettings.max_seq_length)
        require_positive(batch_size=batch_size)
        chosen = parse_layers(tuple(map(str, layers)))
        require_choice("untrained_positions", untrained_positions, get_args(UntrainedPositions))
        settings = FeatureSettings(chosen, pooling, dtype, length, batch_size, untrained_positions)
        extractor, _ = load_extractor(model, settings, model.devices)
        return cls(model.tokenizer, extractor)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers of the vectors: -1 is the last one, 0 the first."""
        return self._extractor.settings.layers

    @property
    def max_seq_length(self) -> int:
        """Pieces of a text or pair with [CLS] and [SEP]; longer ones are cut."""
        return self._extractor.settings.max_seq_length

    @overload
    def features(self, texts: TextOrPair) -> TextFeatures: ...
    @overload
    def features(self, texts: list[str] | list[tuple[str, str]]) -> list[TextFeatures]: ...

    def features(self, texts: Any) -> Any:
        """The vectors of a text, of a pair of texts as a tuple, or of each of a list of them."""
        if isinstance(texts, (str, tuple)):
            return self._features([texts])[0]
        return self._features(texts)

    def _features(self, texts: Sequence[TextOrPair]) -> list[TextFeatures]:
        sentences = encode_texts(texts, self._tokenizer, self.max_seq_length)
        values = self._extractor.compute(sentences)
        return [self._of_sentence(sentences, i, values) for i in range(len(sentences))]

    def _of_sentence(self, sentences: Sentences, i: int, values: npt.NDArray[Any]) -> TextFeatures:
        settings, pieces = self._extractor.settings, self._tokenizer.vocab.pieces
        here = slice(*sentences.sentence_offsets[i : i + 2])
        starts, ends = sentences.starts[here].clip(min=0), sentences.ends[here].clip(min=0)
        vectors = values[sentence_slice(settings, sentences, i)]
        return TextFeatures(
            tuple(pieces[id_] for id_ in sentences.input_ids[here]),
            tuple(zip(starts.tolist(), ends.tolist(), strict=True)),
            tuple(sentences.segment_ids[here].tolist()),
            vectors[0] if settings.is_pooled else vectors,
        )
