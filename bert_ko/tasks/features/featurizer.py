"""A featurizer: texts to the vectors of a model's layers.

Legend: P pieces of a text, or its words for a model of words; N layers, H hidden_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args, overload

import numpy as np
import numpy.typing as npt

from bert_ko.tasks.features.extraction import (
    DType,
    Extractor,
    FeatureSettings,
    Pooling,
    all_layers,
    load_extractor,
    parse_layers,
    sentence_slice,
)
from bert_ko.tasks.features.word_extraction import (
    WordExtractor,
    load_word_extractor,
    refuse_split,
    word_encoder,
)
from bert_ko.tasks.features.words import WordEncoder, WordSentences
from bert_ko.tasks.loading import Loadable, find_length, require_choice, require_positive
from bert_ko.tasks.sentences import Sentences, TextOrPair, encode_texts
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.model_files import TrainedModel
from bert_ko.training.positions import UntrainedPositions


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """The pieces of a text or of a pair of texts, and their vectors.

    Attributes:
        pieces: of the vocabulary, with [CLS] and [SEP]; or words, without marks around them.
        offsets: first character of each piece in its own text, and the one after its last; (0, 0)
            for [CLS] and [SEP].
        segment_ids: 1 for the pieces of the second text.
        vectors: float [P, N, H], with pooling [N, H]; the layers in the order given.
    """

    pieces: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]
    segment_ids: tuple[int, ...]
    vectors: npt.NDArray[Any]

    @property
    def layers(self) -> npt.NDArray[Any]:
        """The vectors by layer: float [N, P, H], with pooling [N, H]."""
        return np.moveaxis(self.vectors, -2, 0)

    def mix(self, weights: Sequence[float] | None = None, gamma: float = 1.0) -> npt.NDArray[Any]:
        """One vector for each piece: gamma times the weighted sum of its layers.

        Args:
            weights: of each layer, as they are; a task that learns them shows them after the
                softmax. None: the same for all, which add up to 1.
            gamma: the scale of the whole.

        Returns:
            float32 [P, H], with pooling [H].

        Raises:
            ValueError: there are not as many weights as layers, or one is not finite.
        """
        count = len(self.layers)
        shares = np.full(count, 1 / count) if weights is None else np.asarray(weights, np.float64)
        if shares.shape != (count,) or not np.isfinite([*shares, gamma]).all():
            raise ValueError(
                f"weights must be {count} finite numbers, one for each layer, and gamma another; "
                f"got {weights!r} and {gamma!r}."
            )
        return np.tensordot(gamma * shares, self.layers, axes=1).astype(np.float32)


class Featurizer(Loadable):
    """Gives the pieces or words of texts, or whole texts, the vectors of a model's layers."""

    kind = "features"
    variable = None

    def __init__(self, tokenizer: Tokenizer | WordEncoder, extractor: Extractor | WordExtractor):
        """``bert_ko.load`` makes one, both of pieces or both of words."""
        self._tokenizer, self._extractor = tokenizer, extractor

    @classmethod
    def from_model(
        cls,
        model: TrainedModel,
        *,
        layers: Sequence[int] | None = None,
        pooling: Pooling = "none",
        dtype: DType = "float32",
        max_seq_length: int | None = None,
        batch_size: int = FeatureSettings.batch_size,
        untrained_positions: UntrainedPositions = "extend",
        is_split_into_words: bool = False,
    ) -> Featurizer:
        """Places an opened model on devices.

        Args:
            model: open, of any kind.
            layers: -1 is the last one, 0 the first. None: the last one, and all of a model of
                words, its words' own vectors first.
            pooling: none for the vector of each piece; mean or cls for one vector per text.
            dtype: of the vectors.
            max_seq_length: pieces of a text or pair; by default as in training.
            batch_size: texts that are computed together.
            untrained_positions: what positions that training has not reached are computed with:
                extend for the trained ones repeated, keep for the values that they have.
            is_split_into_words: the texts are words with blanks between them, for a model of words.

        Raises:
            ValueError: the model does not have such layers, or a setting does not fit it.
        """
        require_choice("pooling", pooling, get_args(Pooling))
        require_choice("dtype", dtype, get_args(DType))
        require_positive(batch_size=batch_size)
        require_choice("untrained_positions", untrained_positions, get_args(UntrainedPositions))
        if layers is not None:
            chosen = parse_layers(tuple(map(str, layers)))
        else:
            chosen = all_layers(model.config) if model.is_of_words else (-1,)
        default = FeatureSettings.max_seq_length
        if model.is_of_words:
            length = default if max_seq_length is None else max_seq_length
        else:
            length = find_length(model, max_seq_length, default)
        settings = FeatureSettings(chosen, pooling, dtype, length, batch_size, untrained_positions)
        if model.is_of_words:
            encoder = word_encoder(model, is_split=is_split_into_words)
            return cls(encoder, load_word_extractor(model, settings, model.devices)[0])
        refuse_split(model, is_split=is_split_into_words)
        return cls(model.tokenizer, load_extractor(model, settings, model.devices)[0])

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers of the vectors: -1 is the last one, 0 the first."""
        return self._extractor.settings.layers

    @property
    def max_seq_length(self) -> int | None:
        """Pieces of a text or pair with [CLS] and [SEP]; longer ones are cut.

        None for a model of words, which cuts no text.
        """
        if isinstance(self._extractor, WordExtractor):
            return None
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
        sentences: Sentences | WordSentences
        if isinstance(self._extractor, WordExtractor):
            assert isinstance(self._tokenizer, WordEncoder)
            if not all(isinstance(text, str) for text in texts):
                raise ValueError("a model of words reads single texts, no pairs; give strings.")
            sentences = self._tokenizer.encode(map(str, texts))
            values = self._extractor.compute(sentences)
        else:
            assert isinstance(self._tokenizer, Tokenizer)
            length = self._extractor.settings.max_seq_length
            sentences = encode_texts(texts, self._tokenizer, length)
            values = self._extractor.compute(sentences)
        return [self._of_sentence(sentences, i, values) for i in range(len(sentences))]

    def _of_sentence(
        self, sentences: Sentences | WordSentences, i: int, values: npt.NDArray[Any]
    ) -> TextFeatures:
        settings = self._extractor.settings
        here = slice(*sentences.sentence_offsets[i : i + 2])
        starts, ends = sentences.starts[here].clip(min=0), sentences.ends[here].clip(min=0)
        vectors = values[sentence_slice(settings, sentences, i)]
        if isinstance(sentences, WordSentences):
            pieces, segment_ids = sentences.words[here], (0,) * len(starts)
        else:
            assert isinstance(self._tokenizer, Tokenizer)
            known = self._tokenizer.vocab.pieces
            pieces = tuple(known[id_] for id_ in sentences.input_ids[here])
            segment_ids = tuple(sentences.segment_ids[here].tolist())
        return TextFeatures(
            pieces,
            tuple(zip(starts.tolist(), ends.tolist(), strict=True)),
            segment_ids,
            vectors[0] if settings.is_pooled else vectors,
        )
