"""What a session reports of its runs, a seed each, below one of all if there are several."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from bert_ko.copies import named
from bert_ko.flags import secret_flags
from bert_ko.modeling.config import ModelConfig
from bert_ko.page_flags import REPORT_NAME
from bert_ko.tokenization.config import CONFIG_NAME as TOKENIZER_CONFIG_NAME
from bert_ko.training.checkpoints import CONFIG_NAME
from bert_ko.training.labels import LABELS_NAME
from bert_ko.training.metrics import METRICS_NAME, read_metrics
from bert_ko.training.results import RESULTS_NAME, SEEDS_NAME
from bert_ko.training.runs import RUN_NAME
from bert_ko.training.settings import TrainFlags
from bert_ko.training.tracking.tracker import TrackedRun, Tracker

_CONFIGURATION = (RUN_NAME, CONFIG_NAME, TOKENIZER_CONFIG_NAME, LABELS_NAME)
_RESULTS = (RESULTS_NAME, REPORT_NAME, SEEDS_NAME)


class SessionRuns:
    """Tells a tracker of the runs of a session, in the order in which it comes to them."""

    def __init__(self, tracker: Tracker, config: TrainFlags, model_config: ModelConfig):
        """Args: model_config: that is trained with."""
        self._tracker, self._config = tracker, config
        model = model_config.to_dict()
        self._parameters = _flags(config) | {f"model.{name}": model[name] for name in model}
        self._folder = os.path.abspath(config.local_dir)
        self._name = os.path.basename(self._folder)

    def start(self, seed: int, last_step: int | None = None) -> None:
        """The run of a seed begins, or resumes after last_step; None if it doesn't train."""
        folder = os.path.abspath(self._config.folder(seed))
        parameters, name, parent = self._parameters, self._name, None
        if len(self._config.seeds) > 1:
            parent, name = self._folder, f"{name}/{os.path.basename(folder)}"
            self._start_parent()
        parameters = {**parameters, "output_dir": named(folder), "random_seed": seed}
        lines = read_metrics(os.path.join(folder, METRICS_NAME))
        if last_step is not None:
            lines = [line for line in lines if line["step"] <= last_step]
        self._tracker.start(TrackedRun(folder, name, parameters, parent), lines)
        self._add_files(folder, _CONFIGURATION)

    def _start_parent(self) -> None:
        run = TrackedRun(self._folder, self._name, self._parameters, is_parent=True)
        self._tracker.start(run)

    def finish(self, seed: int, scores: Mapping[str, float], step: int) -> None:
        """The run of a seed has ended well; see ``Tracker.finish``."""
        self._add_files(self._config.folder(seed), _RESULTS)
        self._tracker.finish(scores, step)

    def summarize(self, scores: Mapping[str, float], step: int) -> None:
        """All seeds have ended well, with these means and deviations."""
        self._start_parent()
        self._add_files(self._folder, _RESULTS)
        self._tracker.finish(scores, step)

    def _add_files(self, folder: str, names: Sequence[str]) -> None:
        paths = [os.path.join(folder, name) for name in names]
        self._tracker.add_files([path for path in paths if os.path.isfile(path)])


def _flags(config: TrainFlags) -> dict[str, Any]:
    """By name, without secrets, lists as JSON."""
    secrets = secret_flags(type(config))
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(config).items()
        if name not in secrets
    }
