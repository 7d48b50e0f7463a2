"""What run_squad reads: questions with windows, which josa help, and what pieces can answer."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bert_ko import files
from bert_ko.display import shown
from bert_ko.json_files import format_json, read_json
from bert_ko.messages import say, show_scores, warn
from bert_ko.progress import format_table
from bert_ko.tasks.batches import Ints
from bert_ko.tasks.squad.examples import Dataset
from bert_ko.tasks.squad.features import Features, cached_features, gold_spans
from bert_ko.tasks.squad.josa import JosaStripper, ending_key, strip_answers
from bert_ko.tasks.squad.klue import format_klue, klue_values
from bert_ko.tasks.squad.question_files import read_dataset
from bert_ko.tasks.squad.scores import Scores, score_answer, score_predictions
from bert_ko.tasks.squad.settings import SquadFlags, StripJosa
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.unknown import warn_of_unknown_ids

ENDINGS_NAME = "josa_endings.json"
UNREACHABLE_NAME = "unreachable.jsonl"
_SHOWN = 20  # unreachable answers on screen
_MIN_GAIN = 2  # an ending must help that many answers more than it hurts; one may be chance


@dataclass(frozen=True)
class Questions:
    """A file of questions, cut into windows."""

    path: str
    dataset: Dataset
    features: Features

    def describe(self, windows: Ints) -> str:
        """Names the questions of windows, int32 [B], the numbers of the windows."""
        ids = [question.qas_id for _, question in self.dataset.questions()]
        names = ", ".join(ids[question] for question in self.features.window_questions[windows])
        return f"windows of the questions {names}"

    def trainable(self) -> Questions:
        """The same with the windows to train on alone.

        A question whose gold answer is not in its context teaches nothing; one that is meant to
        have no answer does.

        Raises:
            ValueError: there is none.
        """
        impossible = np.array([q.is_impossible for _, q in self.dataset.questions()], np.bool_)
        is_usable = impossible | (self.features.answer_first >= 0)
        chosen = self.features.select(is_usable[self.features.window_questions])
        if not len(chosen.window_counts):
            raise ValueError(f"{self.path} has no question to train on.")
        left_out = int((~is_usable).sum())
        if left_out:
            warn(f"{self.path}: {left_out:,} questions are not trained on")
        return Questions(self.path, self.dataset, chosen)


def read_questions(config: SquadFlags, path: str, tokenizer: Tokenizer) -> Questions:
    """Reads questions and cuts their contexts into windows, which are cached in --output_dir.

    Raises:
        ValueError: it is not a dataset, or has questions without answers, which were not announced.
    """
    dataset = read_dataset(path, config.input_encoding)
    impossible = sum(question.is_impossible for _, question in dataset.questions())
    if impossible and not (config.version_2_with_negative or config.oracle):
        raise ValueError(
            f"{path}: questions without an answer (is_impossible): {impossible:,}; give "
            "--version_2_with_negative."
        )
    if not any(True for _ in dataset.questions()):
        raise ValueError(f"{path} has no question.")
    cache = None if config.dry_run else config.local_dir
    features = cached_features(dataset, tokenizer, config.window_config, cache)
    say(
        f"{path}: {len(features.question_contexts):,} questions on "
        f"{len(dataset.paragraphs):,} contexts, {len(features.window_counts):,} windows"
    )
    for line, problems in dataset.describe_problems():
        warn(f"{path}: {line}")
        for problem in problems if config.verbose_logging else ():
            warn(f"{path}: {shown(problem.detail, 200)}")
    warn_of_unknown_ids(features.context_ids, tokenizer, path)
    return Questions(path, dataset, features)


# Which endings are stripped


def learn_endings(dataset: Dataset, features: Features, stripper: JosaStripper) -> list[str]:
    """The endings that are worth stripping, see ``ending_key``.

    Each gold answer is stripped as a perfect reader would give it, in whole pieces.
    """
    spans, golds = gold_spans(dataset, features), dataset.golds()
    gains: Counter[str] = Counter()
    for qas_id, stripped in strip_answers(dataset, spans, stripper).items():
        before = score_answer(spans[qas_id].text, golds[qas_id]).exact_match
        after = score_answer(stripped.span.text, golds[qas_id]).exact_match
        gains[ending_key(stripped)] += after - before
    return sorted(key for key, gain in gains.items() if gain >= _MIN_GAIN)


def choose_stripper(
    config: SquadFlags, tokenizer: Tokenizer, learnt: list[str] | None
) -> JosaStripper | None:
    """What cuts josa off the answers; None if nothing does.

    Args:
        config: "auto" strips the endings that help.
        tokenizer: of the model.
        learnt: these endings; None for those that an earlier run wrote to --output_dir.
    """
    if config.strip_josa == "auto" and learnt is not None:
        return JosaStripper(tokenizer.user_dictionaries).only(learnt)
    found = stored_stripper(config.strip_josa, tokenizer, config.local_dir)
    if config.strip_josa == "auto" and found is None:
        warn(
            "--strip_josa=auto strips nothing: what helps is learnt from --train_file, and "
            f"{os.path.join(config.local_dir, ENDINGS_NAME)} does not exist."
        )
    return found


def stored_stripper(
    strip_josa: StripJosa, tokenizer: Tokenizer, folder: str
) -> JosaStripper | None:
    """What cuts josa off the answers of a trained model; None if nothing does.

    "auto" uses the endings that the run of the folder has learnt.

    Raises:
        ValueError: the file of endings is not of such a run.
    """
    if strip_josa == "never":
        return None
    stripper = JosaStripper(tokenizer.user_dictionaries)
    if strip_josa == "always":
        return stripper
    path = os.path.join(folder, ENDINGS_NAME)
    values = read_json(path)
    if values is None:
        return None
    endings = values.get("endings")
    if not (isinstance(endings, list) and all(isinstance(ending, str) for ending in endings)):
        raise ValueError(f"{path} lists no endings; delete it, and give --train_file.")
    return stripper.only(endings)


# What pieces can answer


def consult_oracle(dataset: Dataset, features: Features) -> Scores:
    """Answers every question with the pieces that its first gold answer touches, and scores it."""
    answers = {qas_id: span.text for qas_id, span in gold_spans(dataset, features).items()}
    answers |= {q.qas_id: "" for _, q in dataset.questions() if q.is_impossible}
    return score_predictions(dataset.golds(), answers)


def unreachable_records(scores: Scores) -> list[dict[str, Any]]:
    """The questions whose gold answer is no sequence of pieces, for a file of JSON lines."""
    return [
        {"id": i, "golds": scores.golds[i], "best": scores.answers.get(i), "f1": score.f1}
        for i, score in scores.by_question.items()
        if not score.exact_match
    ]


def format_oracle(scores: Scores, unreachable: Sequence[Mapping[str, Any]]) -> str:
    """The scores, and the first of what is unreachable, as tables."""
    rows: list[tuple[str, object]] = [
        *scores.means.items(),
        ("questions", scores.total),
        ("unreachable", len(unreachable)),
    ]
    blocks = [format_table(rows, ["", "oracle"])]
    if unreachable:
        shown_rows = [
            [shown(r["id"]), shown(" / ".join(r["golds"])), shown(r["best"])]
            for r in unreachable[:_SHOWN]
        ]
        blocks.append(format_table(shown_rows, ["unreachable", "gold", "in whole pieces"]))
    if len(unreachable) > _SHOWN:
        blocks.append(f"and {len(unreachable) - _SHOWN:,} more")
    return "\n\n".join(blocks)


def report_oracle(config: SquadFlags, tokenizer: Tokenizer) -> None:
    """Prints what pieces can answer, and writes unreachable.jsonl."""
    path = config.predict_file or config.train_file
    assert path is not None
    questions = read_questions(config, path, tokenizer)
    scores = consult_oracle(questions.dataset, questions.features)
    records = unreachable_records(scores)
    lines = "".join(format_json(record) + "\n" for record in records)
    files.write_atomic(os.path.join(config.local_dir, UNREACHABLE_NAME), lines)
    show_scores(format_oracle(scores, records))
    if klue := klue_values(questions.dataset, scores):
        show_scores(f"\n{format_klue(klue)}")
