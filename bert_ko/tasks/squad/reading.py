"""Reading the files that run_squad names: questions, their windows, and how josa are stripped."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from bert_ko.display import shown, shown_list
from bert_ko.json_files import read_json, write_json
from bert_ko.progress import warn
from bert_ko.tasks.batches import Ints
from bert_ko.tasks.fine_tuning import file_identity
from bert_ko.tasks.squad.examples import Dataset, read_dataset
from bert_ko.tasks.squad.features import Features, cached_features
from bert_ko.tasks.squad.josa import JosaStripper
from bert_ko.tasks.squad.josa_policy import HelpfulStripper, StripJosa, learn_endings
from bert_ko.tasks.squad.josa_report import Stripper
from bert_ko.tasks.squad.settings import SquadFlags
from bert_ko.tokenization.tokenizer import Tokenizer

ENDINGS_NAME = "josa_endings.json"


@dataclass(frozen=True)
class Questions:
    """A file of questions, cut into windows.

    Attributes:
        path: the file.
        dataset: what it says.
        features: all windows of all questions.
    """

    path: str
    dataset: Dataset
    features: Features

    def describe(self, windows: Ints) -> str:
        """Names the questions of windows by their numbers."""
        ids = [question.qas_id for _, question in self.dataset.questions()]
        names = ", ".join(ids[question] for question in self.features.window_questions[windows])
        return f"windows of the questions {names}"

    def trainable(self) -> Questions:
        """The same with the windows to train on alone.

        A question whose gold answer is not in its context teaches nothing; one that has no answer
        by intent does.

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

    Args:
        config: flags.
        path: the file.
        tokenizer: of the model.

    Raises:
        ValueError: it is no dataset, or has questions without answers, which were not announced.
    """
    dataset = read_dataset(path)
    impossible = sum(question.is_impossible for _, question in dataset.questions())
    if impossible and not (config.version_2_with_negative or config.oracle):
        raise ValueError(
            f"{path}: questions without an answer (is_impossible): {impossible:,}; give "
            "--version_2_with_negative."
        )
    if not any(True for _ in dataset.questions()):
        raise ValueError(f"{path} has no question.")
    features = cached_features(path, dataset, tokenizer, config.window_config, config.output_dir)
    questions = Questions(path, dataset, features)
    _describe(config, questions)
    return questions


def _describe(config: SquadFlags, questions: Questions) -> None:
    """Prints how many there are, and what is wrong with them."""
    dataset, features = questions.dataset, questions.features
    print(
        f"{questions.path}: {len(features.question_contexts):,} questions on "
        f"{len(dataset.paragraphs):,} contexts, {len(features.window_counts):,} windows",
        flush=True,
    )
    for kind, count in dataset.problem_counts().items():
        found = [problem for problem in dataset.problems if problem.kind == kind]
        named = shown_list([problem.qas_id or problem.detail for problem in found])
        warn(f"{questions.path}: {kind}: {count:,} ({named})")
        if config.verbose_logging:
            for problem in found:
                warn(f"{questions.path}: {shown(problem.detail, 200)}")


def choose_stripper(
    config: SquadFlags, tokenizer: Tokenizer, training: Questions | None
) -> Stripper | None:
    """What cuts josa off the answers.

    Args:
        config: flags.
        tokenizer: of the model; its user dictionaries count here too.
        training: the endings that help are learnt from its gold answers; without it, those of
            --output_dir are taken, which an earlier run learnt.

    Returns:
        None where nothing is cut.
    """
    if config.strip_josa != "auto":
        return stored_stripper(config.strip_josa, tokenizer, config.output_dir)
    if training is not None:
        stripper = JosaStripper(tokenizer.user_dictionaries)
        endings = learn_endings(training.dataset, training.features, stripper)
        for folder in {config.output_dir, *map(config.folder, config.seeds)}:
            os.makedirs(folder, exist_ok=True)
            learnt = {"file": file_identity(training.path), "endings": endings}
            write_json(os.path.join(folder, ENDINGS_NAME), learnt)
        return HelpfulStripper(stripper, endings)
    found = stored_stripper("auto", tokenizer, config.output_dir)
    if found is None:
        warn(
            "--strip_josa=auto strips nothing: what helps is learnt from --train_file, and "
            f"{os.path.join(config.output_dir, ENDINGS_NAME)} does not exist."
        )
    return found


def stored_stripper(strip_josa: StripJosa, tokenizer: Tokenizer, folder: str) -> Stripper | None:
    """What cuts josa off the answers of a trained model.

    Args:
        strip_josa: auto takes the endings that the run has learnt.
        tokenizer: of the model; its user dictionaries count here too.
        folder: of the run.

    Returns:
        None where nothing is cut.
    """
    if strip_josa == "never":
        return None
    stripper = JosaStripper(tokenizer.user_dictionaries)
    if strip_josa == "always":
        return stripper
    endings = learnt_endings(folder)
    return HelpfulStripper(stripper, endings) if endings is not None else None


def learnt_endings(folder: str) -> list[str] | None:
    """The endings that a run has learnt to strip; None where it has learnt none.

    Args:
        folder: of the run.

    Raises:
        ValueError: the file is not of such a run.
    """
    path = os.path.join(folder, ENDINGS_NAME)
    values = read_json(path)
    if values is None:
        return None
    found = values.get("endings")
    if not (isinstance(found, list) and all(isinstance(ending, str) for ending in found)):
        raise ValueError(f"{path} has no list of endings; delete it, and give --train_file.")
    return found
