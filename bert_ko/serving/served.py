"""Models as a server sees them: requests in, answers out, several at once."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel

from bert_ko.serving import bodies
from bert_ko.serving.bodies import (
    ClassifierRequest,
    MaskRequest,
    ReaderRequest,
    Request,
    TaggerRequest,
)
from bert_ko.tasks.batches import batch_lengths
from bert_ko.tasks.classifier.classifier import Classifier, Score
from bert_ko.tasks.fill_mask.masked_lm import MASK, MaskedLm
from bert_ko.tasks.kinds import load_model
from bert_ko.tasks.labelling import Labeller
from bert_ko.tasks.loading import plain_messages
from bert_ko.tasks.ner.tagger import Tagger
from bert_ko.tasks.squad.reader import Answer, Reader

_NAME = re.compile(r"[\w.-]+")  # nothing that an address would have to escape, but Hangul
_SHOWN = 300  # characters of a message
_MASKED_LENGTH = 128  # pieces of the longest text that is compiled before it is asked for
_WORD = "나무 "  # one piece in most vocabularies
_SPECIALS = 4  # pieces that are none of the text

L = TypeVar("L", bound=Labeller)
M = TypeVar("M")
R = TypeVar("R", bound=Request)


class Served(ABC, Generic[M, R]):
    """A model, its name, and how it is asked."""

    operation: ClassVar[str]  # the last part of its address
    summary: ClassVar[str]
    request: ClassVar[type[Request]]
    response: ClassVar[type[BaseModel]]

    def __init__(self, name: str, model: M):
        self.name, self.model = name, model

    @property
    def kind(self) -> str:
        """As ``bert_ko.load`` calls it."""
        kind: str = self.model.kind  # type: ignore[attr-defined]
        return kind

    @property
    def path(self) -> str:
        """Where it is asked."""
        return f"/models/{self.name}/{self.operation}"

    @property
    @abstractmethod
    def lengths(self) -> tuple[int, ...]:
        """Pieces, ascending, for each of which the model is compiled."""

    @abstractmethod
    def example(self, text: str) -> R:
        """A request about one text."""

    @abstractmethod
    def compute(self, requests: Sequence[R]) -> list[Any]:
        """The answer to each request, or the ValueError that one alone is to blame for."""

    def warm_up(self, batch_size: int) -> Iterator[list[R]]:
        """Batches of all shapes that requests are computed in."""
        for shorter, length in pairwise((0, *self.lengths)):
            words = max(1, (shorter + length) // 2 - _SPECIALS)
            for rows in sorted({1, batch_size}):
                yield [self.example(_WORD * words)] * rows


class ServedReader(Served[Reader, ReaderRequest]):
    """A reader."""

    operation, summary = "answer", "Answers questions on a context."
    request, response = ReaderRequest, bodies.ReaderResponse

    @property
    def lengths(self) -> tuple[int, ...]:
        """See Served."""
        return self.model.plan.lengths

    def example(self, text: str) -> ReaderRequest:
        """See Served."""
        return ReaderRequest(context=text, questions=["무엇?"], top_k=1)

    def compute(self, requests: Sequence[ReaderRequest]) -> list[Any]:
        """See Served."""
        questions = [question for one in requests for question in one.questions]
        contexts = [one.context for one in requests for _ in one.questions]
        found = iter(self.model.answer(questions, contexts))
        return [
            bodies.ReaderResponse(
                results=[_answered(next(found), one.top_k) for _ in one.questions]
            )
            for one in requests
        ]


def _answered(answer: Answer, top_k: int) -> bodies.Answered:
    candidates = [
        bodies.Span(text=one.text, start=one.start, end=one.end, probability=one.probability)
        for one in answer.candidates[:top_k]
    ]
    return bodies.Answered(
        text=answer.text,
        start=answer.start,
        end=answer.end,
        probability=answer.probability,
        candidates=candidates,
    )


class ServedLabeller(Served[L, R]):
    """A model that labels texts."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """See Served."""
        return batch_lengths(self.model.max_seq_length, True, None)

    def example(self, text: str) -> R:
        """See Served."""
        return self.request(texts=[text])  # type: ignore[call-arg,return-value]


class ServedClassifier(ServedLabeller[Classifier, ClassifierRequest]):
    """A classifier, of classes or of scores."""

    operation, summary = "classify", "Classifies texts, or gives them scores."
    request, response = ClassifierRequest, bodies.ClassifierResponse

    def compute(self, requests: Sequence[ClassifierRequest]) -> list[Any]:
        """See Served."""
        texts: list[Any] = [
            text if isinstance(text, str) else (text[0], text[1])
            for one in requests
            for text in one.texts
        ]
        found = iter(self.model.classify(texts))
        return [
            bodies.ClassifierResponse(results=[_classified(next(found)) for _ in one.texts])
            for one in requests
        ]


def _classified(said: Any) -> bodies.Classified | bodies.Scored:
    if isinstance(said, Score):
        return bodies.Scored(score=said.score)
    return bodies.Classified(
        label=said.label, probability=said.probability, probabilities=dict(said.probabilities)
    )


class ServedTagger(ServedLabeller[Tagger, TaggerRequest]):
    """A tagger of named entities."""

    operation, summary = "tag", "Finds the named entities of texts."
    request, response = TaggerRequest, bodies.TaggerResponse

    def compute(self, requests: Sequence[TaggerRequest]) -> list[Any]:
        """See Served."""
        found = iter(self.model.tag([text for one in requests for text in one.texts]))
        return [
            bodies.TaggerResponse(results=[_tagged(next(found)) for _ in one.texts])
            for one in requests
        ]


def _tagged(entities: Sequence[Any]) -> bodies.Tagged:
    return bodies.Tagged(entities=[bodies.Entity(**vars(entity)) for entity in entities])


class ServedMaskedLm(Served[MaskedLm, MaskRequest]):
    """A pre-trained model that fills [MASK]."""

    operation, summary = "fill_mask", "Finds the likeliest tokens for each [MASK]."
    request, response = MaskRequest, bodies.MaskResponse

    @property
    def lengths(self) -> tuple[int, ...]:
        """See Served; longer texts are compiled for when they come."""
        return self.model.lengths(_MASKED_LENGTH)

    def example(self, text: str) -> MaskRequest:
        """See Served."""
        return MaskRequest(texts=[MASK + text], top_k=1)

    def compute(self, requests: Sequence[MaskRequest]) -> list[Any]:
        """See Served."""
        prepared = [self._prepare(one) for one in requests]
        texts = [text for one in prepared if isinstance(one, list) for text in one]
        top_k = max(one.top_k for one in requests)
        found = self.model.fill(texts, top_k)
        return [
            one
            if isinstance(one, ValueError)
            else bodies.MaskResponse(results=[_filled(next(found), asked.top_k) for _ in one])
            for asked, one in zip(requests, prepared, strict=True)
        ]

    def _prepare(self, asked: MaskRequest) -> list[Any] | ValueError:
        try:
            return [self.model.prepare(text, f"texts[{i}]") for i, text in enumerate(asked.texts)]
        except ValueError as error:
            return ValueError(str(error)[:_SHOWN])


def _filled(masks: Sequence[Any], top_k: int) -> bodies.Filled:
    return bodies.Filled(
        masks=[
            bodies.FilledMask(
                start=mask.start,
                candidates=[
                    bodies.Filling(piece=one.piece, probability=one.probability)
                    for one in mask.candidates[:top_k]
                ],
            )
            for mask in masks
        ]
    )


_BY_KIND: dict[type[Any], type[Served[Any, Any]]] = {
    Reader: ServedReader,
    Classifier: ServedClassifier,
    Tagger: ServedTagger,
    MaskedLm: ServedMaskedLm,
}


def name_models(paths: Sequence[str]) -> dict[str, str]:
    """Names models by their folders.

    Returns:
        Name to path, in their order.

    Raises:
        ValueError: a name can't stand in an address, or two models have the same.
    """
    found: dict[str, str] = {}
    for path in paths:
        name = os.path.basename(os.path.abspath(path))
        if not _NAME.fullmatch(name) or not name.strip("."):
            raise ValueError(
                f"{path}: a model is served under the name of its folder, of letters, digits and "
                f"_.- alone, got {name!r}; make a link to the folder that has another name."
            )
        if name in found:
            raise ValueError(
                f"{found[name]} and {path} would both be served as {name!r}; make a link to one of "
                "the folders that has another name."
            )
        found[name] = path
    return found


def open_served(name: str, path: str, settings: Mapping[str, Any]) -> Served[Any, Any]:
    """Opens a trained model; see ``bert_ko.load`` for the settings.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or answers nothing that a server could be asked.
    """
    with plain_messages():
        model = load_model(path, settings)
    if type(model) not in _BY_KIND:
        raise ValueError(
            f"{path} has no head that answers; serve takes readers, classifiers, taggers and "
            f"pre-trained models that fill {MASK}."
        )
    return _BY_KIND[type(model)](name, model)
