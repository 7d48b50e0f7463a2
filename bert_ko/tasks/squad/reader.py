"""A trained reader: questions and contexts to answers.

Legend: B batch, L length of the batch, W windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, NamedTuple, get_args, overload

import numpy as np

from bert_ko.modeling.heads import SPAN_WEIGHTS, SpanHead
from bert_ko.tasks.batches import BatchPlan, predictions
from bert_ko.tasks.loading import (
    BATCH_SIZE,
    Loadable,
    find_length,
    place,
    require_choice,
    require_positive,
)
from bert_ko.tasks.squad.comparison import JosaReport
from bert_ko.tasks.squad.examples import Dataset, Paragraph, Question, Span
from bert_ko.tasks.squad.features import Features, WindowConfig, build_features
from bert_ko.tasks.squad.josa import JosaStripper, strip_answers
from bert_ko.tasks.squad.josa_rules import Stripped
from bert_ko.tasks.squad.predictions import Candidate, Floats, Prediction, PredictionConfig
from bert_ko.tasks.squad.predictions import predict as choose_answers
from bert_ko.tasks.squad.reading import stored_stripper
from bert_ko.tasks.squad.scores import score_predictions
from bert_ko.tasks.squad.settings import StripJosa
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.backend import Predict
from bert_ko.training.model_files import TrainedModel

_DEFAULTS = {
    "doc_stride": WindowConfig.doc_stride,
    "max_query_length": WindowConfig.max_query_length,
    "version_2_with_negative": False,
}
_FAR_BELOW = np.float32(-1e9)  # the logit of what a batch does not have


class Reading(NamedTuple):
    """The answers to the questions of a dataset, by question id."""

    predictions: list[Prediction]  # as the model gives them, one for each question
    chosen: dict[str, Span]  # the answers before stripping
    shortened: dict[str, Stripped]  # what is left of the answers that stripping changed

    @property
    def answers(self) -> dict[str, Span]:
        """The final answers."""
        return self.chosen | {qas_id: found.span for qas_id, found in self.shortened.items()}

    def report(self, golds: Mapping[str, Sequence[str]]) -> JosaReport:
        """The official scores without and with stripping; golds are accepted answers by id."""
        texts = {qas_id: span.text for qas_id, span in self.chosen.items()}
        return JosaReport.of(score_predictions(golds, texts), self.shortened)


@dataclass(frozen=True)
class Answer:
    """The answer to a question: context[start:end]; "" with start and end 0 if there is none."""

    text: str  # after stripping
    start: int  # first character in the context
    end: int  # the character after the last
    probability: float  # of the answer before stripping, among the candidates
    candidates: tuple[Candidate, ...]  # before stripping: the answer, then the others, best first


@dataclass(frozen=True)
class Reader(Loadable):
    """A model that answers questions on contexts."""

    kind: ClassVar[str] = "reader"
    variable: ClassVar[str] = SPAN_WEIGHTS

    tokenizer: Tokenizer
    windows: WindowConfig
    plan: BatchPlan
    answers: PredictionConfig
    stripper: JosaStripper | None  # cuts josa off the answers; None cuts nothing
    # input_ids, input_mask, segment_ids int32 [B, L] to start_logits, end_logits float32 [B, L].
    predict: Predict

    @classmethod
    def from_model(
        cls,
        model: TrainedModel,
        *,
        max_seq_length: int | None = None,
        doc_stride: int | None = None,
        max_query_length: int | None = None,
        batch_size: int = BATCH_SIZE,
        n_best_size: int = 20,
        max_answer_length: int = 30,
        version_2_with_negative: bool | None = None,
        null_score_diff_threshold: float = 0.0,
        strip_josa: StripJosa = "auto",
    ) -> Reader:
        """Places an opened model on devices.

        Args:
            model: open.
            max_seq_length: pieces of a window. This and the other flags of run_squad that default
                to None: as the model was trained.
            doc_stride: pieces between the beginnings of two windows.
            max_query_length: pieces of a question.
            batch_size: windows that are computed together.
            n_best_size: candidates of an answer.
            max_answer_length: pieces of an answer at most.
            version_2_with_negative: some questions have no answer.
            null_score_diff_threshold: see ``PredictionConfig``.
            strip_josa: what is cut off the answers; auto: what the run has learnt to cut.

        Raises:
            ValueError: the model is no reader, or a setting does not fit it.
        """
        given = {
            "doc_stride": doc_stride,
            "max_query_length": max_query_length,
            "version_2_with_negative": version_2_with_negative,
        }
        known = {**_DEFAULTS, **model.remembered}
        known |= {name: value for name, value in given.items() if value is not None}
        stride, query, has_negative = (known[name] for name in given)
        require_positive(
            doc_stride=stride,
            max_query_length=query,
            n_best_size=n_best_size,
            max_answer_length=max_answer_length,
        )
        require_choice("strip_josa", strip_josa, get_args(StripJosa))
        length = find_length(model, max_seq_length, WindowConfig.max_seq_length)
        windows = WindowConfig(length, stride, query)
        answers = PredictionConfig(
            n_best_size, max_answer_length, has_negative, null_score_diff_threshold
        )
        predict, plan = place(model, SpanHead(), length, batch_size)
        stripper = stored_stripper(strip_josa, model.tokenizer, model.source.folder)
        return cls(model.tokenizer, windows, plan, answers, stripper, predict)

    def read(
        self, dataset: Dataset, features: Features | None = None, label: str | None = None
    ) -> Reading:
        """Answers all questions of a dataset.

        Args:
            dataset: questions and contexts.
            features: of the same; None builds them.
            label: of a progress line, if one is wanted.
        """
        if features is None:
            features = build_features(dataset, self.tokenizer, self.windows)
        start, end = self._logits(features, label)
        found = list(choose_answers(dataset, features, start, end, self.answers))
        chosen = {p.qas_id: p.best(self.answers).span for p in found}
        shortened = strip_answers(dataset, chosen, self.stripper) if self.stripper else {}
        return Reading(found, chosen, shortened)

    @overload
    def answer(self, question: str, context: str) -> Answer: ...

    @overload
    def answer(
        self, question: list[str] | tuple[str, ...], context: str | Sequence[str]
    ) -> list[Answer]: ...

    def answer(
        self, question: str | Sequence[str], context: str | Sequence[str]
    ) -> Answer | list[Answer]:
        """Answers one question, or a list of them on one context or a list with one for each.

        Raises:
            ValueError: the numbers of contexts and questions differ.
        """
        questions = [question] if isinstance(question, str) else question
        contexts = [context] * len(questions) if isinstance(context, str) else context
        if len(questions) != len(contexts):
            raise ValueError(
                "context must be one text, or one for each question: got "
                f"{len(contexts):,} for {len(questions):,} questions."
            )
        reading = self.read(_to_dataset(questions, contexts))
        spans = reading.answers
        found = [self._answer(p, spans[p.qas_id]) for p in reading.predictions]
        return found[0] if isinstance(question, str) else found

    def _answer(self, prediction: Prediction, span: Span) -> Answer:
        best = prediction.best(self.answers)
        others = [candidate for candidate in prediction.candidates if candidate != best]
        return Answer(span.text, span.start, span.end, best.probability, (best, *others))

    def _logits(self, features: Features, label: str | None) -> tuple[Floats, Floats]:
        """Start and end, float32 [W, longest window]."""
        shape = (len(features.window_counts), int(features.lengths.max(initial=1)))
        start, end = (np.full(shape, _FAR_BELOW) for _ in range(2))
        for windows, found in predictions(features, self.predict, self.plan, label, "windows"):
            for target, name in ((start, "start_logits"), (end, "end_logits")):
                values = found[name][:, : shape[1]]
                target[windows, : values.shape[1]] = values
        return start, end


def _to_dataset(questions: Sequence[str], contexts: Sequence[str]) -> Dataset:
    """Questions without answers, numbered from 0; neighbours share their context."""
    paragraphs = []
    for context, group in groupby(range(len(contexts)), key=contexts.__getitem__):
        asked = [Question(str(number), questions[number], (), False) for number in group]
        paragraphs.append(Paragraph("", context, tuple(asked)))
    return Dataset("", tuple(paragraphs), ())
