"""A trained reader: questions and contexts to answers.

Legend: B batch, L length of the batch, W windows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.tasks.batches import BatchPlan, predictions
from bert_ko.tasks.squad.examples import Dataset
from bert_ko.tasks.squad.features import Features, WindowConfig, build_features
from bert_ko.tasks.squad.josa_report import (
    JosaReport,
    StrippedAnswers,
    Stripper,
    make_josa_report,
    strip_answers,
)
from bert_ko.tasks.squad.predictions import Prediction, PredictionConfig, predict
from bert_ko.tasks.squad.scores import Scores, score_predictions
from bert_ko.tokenization.tokenizer import Tokenizer

HostBatch = dict[str, npt.NDArray[Any]]
_FAR_BELOW = np.float32(-1e9)  # the logit of what a batch does not have


@dataclass(frozen=True)
class ReaderSettings:
    """How a reader reads.

    Attributes:
        tokenizer: of the model.
        windows: how contexts are cut.
        plan: how windows are put into batches.
        answers: how answers are chosen.
        stripper: cuts josa off the answers; None cuts nothing.
    """

    tokenizer: Tokenizer
    windows: WindowConfig
    plan: BatchPlan
    answers: PredictionConfig
    stripper: Stripper | None


class Reading(NamedTuple):
    """The answers to the questions of a dataset.

    Attributes:
        predictions: as the model gives them, one for each question.
        chosen: question id to answer before stripping.
        stripped: the same after stripping; what was chosen where nothing is stripped.
    """

    predictions: list[Prediction]
    chosen: dict[str, str]
    stripped: StrippedAnswers

    @property
    def spans(self) -> dict[str, tuple[int, int]]:
        """Characters of the final answers in their contexts; (0, 0) for none."""
        return {qas_id: self.stripped.spans.get(qas_id, (0, 0)) for qas_id in self.chosen}


def read(
    dataset: Dataset,
    features: Features,
    compute: Callable[[HostBatch], HostBatch],
    settings: ReaderSettings,
    label: str | None = None,
) -> Reading:
    """Answers all questions of a dataset.

    Args:
        dataset: questions and contexts.
        features: of the same.
        compute: input_ids, input_mask, segment_ids int32 [B, L] to start_logits and end_logits
            [B, L].
        settings: of the reader.
        label: of a progress line; None shows none.
    """
    start, end = _logits(features, compute, settings.plan, label)
    found = list(predict(dataset, features, start, end, settings.answers))
    best = {p.qas_id: p.best(settings.answers) for p in found}
    chosen = {qas_id: candidate.text for qas_id, candidate in best.items()}
    starts = {qas_id: candidate.start for qas_id, candidate in best.items()}
    if settings.stripper is not None:
        return Reading(found, chosen, strip_answers(dataset, chosen, starts, settings.stripper))
    spans = {qas_id: (c.start, c.end) for qas_id, c in best.items() if c.text}
    return Reading(found, chosen, StrippedAnswers(dict(chosen), {}, [], [], spans))


def ask(
    dataset: Dataset, compute: Callable[[HostBatch], HostBatch], settings: ReaderSettings
) -> Reading:
    """The same for questions that were not prepared."""
    features = build_features(dataset, settings.tokenizer, settings.windows)
    return read(dataset, features, compute, settings)


def evaluate(dataset: Dataset, reading: Reading) -> tuple[Scores, JosaReport]:
    """The official score of the final answers, and what stripping did.

    Args:
        dataset: with gold answers.
        reading: of the same.
    """
    golds = dataset.golds()
    report = make_josa_report(golds, reading.chosen, reading.stripped)
    return score_predictions(golds, reading.stripped.texts), report


def _logits(
    features: Features,
    compute: Callable[[HostBatch], HostBatch],
    plan: BatchPlan,
    label: str | None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Start and end, float32 [W, longest window]."""
    shape = (len(features.window_counts), int(features.lengths.max(initial=1)))
    start, end = (np.full(shape, _FAR_BELOW) for _ in range(2))
    for windows, found in predictions(features, compute, plan, label, "windows"):
        for target, name in ((start, "start_logits"), (end, "end_logits")):
            values = found[name][:, : shape[1]]
            target[windows, : values.shape[1]] = values
    return start, end
