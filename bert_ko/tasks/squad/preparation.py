"""What run_squad has before it computes: questions, their windows, and how josa are stripped."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from bert_ko.data.manifest import read_json, write_json
from bert_ko.modeling.config import BertConfig
from bert_ko.progress import warn
from bert_ko.tasks.batches import BatchPlan
from bert_ko.tasks.command import file_identity
from bert_ko.tasks.fine_tuning import Predict
from bert_ko.tasks.lengths import batch_lengths
from bert_ko.tasks.shown import shown, shown_list
from bert_ko.tasks.squad.examples import Dataset, read_dataset
from bert_ko.tasks.squad.features import Features, cached_features
from bert_ko.tasks.squad.josa import JosaStripper
from bert_ko.tasks.squad.josa_policy import HelpfulStripper, learn_endings
from bert_ko.tasks.squad.josa_report import Stripper
from bert_ko.tasks.squad.outputs import write_problems
from bert_ko.tasks.squad.reader import Reader
from bert_ko.tasks.squad.settings import SquadFlags
from bert_ko.tokenization.tokenizer import Tokenizer

ENDINGS_NAME = "josa_endings.json"


class Questions(NamedTuple):
    """A file of questions, cut into windows.

    Attributes:
        path: the file.
        dataset: what it says.
        features: all windows of all questions.
    """

    path: str
    dataset: Dataset
    features: Features

    @property
    def qas_ids(self) -> list[str]:
        """In the order of the features."""
        return [question.qas_id for _, question in self.dataset.questions()]

    def trainable(self) -> tuple[Features, int]:
        """The windows to train on, and how many questions were left out.

        A question whose gold answer is not in its context teaches nothing; one that has no answer
        by intent does.
        """
        impossible = np.array([q.is_impossible for _, q in self.dataset.questions()], np.bool_)
        is_usable = impossible | (self.features.answer_first >= 0)
        chosen = self.features.select(is_usable[self.features.window_questions])
        return chosen, int((~is_usable).sum())


class Setting(NamedTuple):
    """What a command line has led to, before anything is computed.

    Attributes:
        config: flags.
        model_config: of the model.
        tokenizer: of the model.
        training: to train on, or to learn from which josa to strip; None for neither.
        asked: to be answered; None for nothing.
        stripper: cuts josa off the answers; None cuts nothing.
    """

    config: SquadFlags
    model_config: BertConfig
    tokenizer: Tokenizer
    training: Questions | None
    asked: Questions | None
    stripper: Stripper | None

    def plan(self, batch_size: int, features: Features | None) -> BatchPlan:
        """How windows are put into batches; features are None where they are not known yet."""
        lengths = padded_lengths(self.config, features)
        return BatchPlan(batch_size, self.tokenizer.vocab.special_ids, lengths)

    def reader(self, predict: Predict, features: Features | None) -> Reader:
        """The reader, for windows that are known or not."""
        return Reader(
            self.tokenizer,
            self.config.window_config,
            self.plan(self.config.predict_batch_size, features),
            self.config.prediction_config,
            self.stripper,
            predict,
        )


def read_questions(config: SquadFlags, path: str, tokenizer: Tokenizer, cache: str) -> Questions:
    """Reads questions and cuts their contexts into windows.

    Args:
        config: flags.
        path: the file.
        tokenizer: of the model.
        cache: folder for the windows.

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
    features = cached_features(path, dataset, tokenizer, config.window_config, cache)
    return Questions(path, dataset, features)


def describe_questions(config: SquadFlags, command: str, questions: Questions) -> None:
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
        warn(command, f"{questions.path}: {kind}: {count:,} ({named})")
        if config.verbose_logging:
            for problem in found:
                warn(command, f"{questions.path}: {shown(problem.detail, 200)}")


def choose_stripper(
    config: SquadFlags, command: str, tokenizer: Tokenizer, training: Questions | None
) -> Stripper | None:
    """What cuts josa off the answers.

    Args:
        config: flags.
        command: for messages.
        tokenizer: of the model; its user dictionaries count here too.
        training: the endings that help are learnt from its gold answers; without it, those of
            --output_dir are taken, which an earlier run learnt.

    Returns:
        None where nothing is cut.
    """
    if config.strip_josa == "never":
        return None
    stripper = JosaStripper(tokenizer.user_dictionaries)
    if config.strip_josa == "always":
        return stripper
    path = os.path.join(config.output_dir, ENDINGS_NAME)
    if training is not None:
        endings = learn_endings(training.dataset, training.features, stripper)
        for folder in {config.output_dir, *map(config.folder, config.seeds)}:
            os.makedirs(folder, exist_ok=True)
            learnt = {"file": file_identity(training.path), "endings": endings}
            write_json(os.path.join(folder, ENDINGS_NAME), learnt)
        return HelpfulStripper(stripper, endings)
    stands = read_json(path)
    if stands is None:
        warn(
            command,
            "--strip_josa=auto strips nothing: what helps is learnt from --train_file, and "
            f"{path} does not exist.",
        )
        return None
    found = stands.get("endings")
    if not (isinstance(found, list) and all(isinstance(ending, str) for ending in found)):
        raise ValueError(f"{path} has no list of endings; delete it, and give --train_file.")
    return HelpfulStripper(stripper, found)


def prepare(
    config: SquadFlags, command: str, model_config: BertConfig, tokenizer: Tokenizer
) -> Setting:
    """Reads and cuts the files that a command line needs.

    Args:
        config: flags.
        command: for messages.
        model_config: of the model.
        tokenizer: of the model.

    Raises:
        ValueError: see ``read_questions``.
    """

    def questions(path: str | None, is_needed: bool) -> Questions | None:
        if path is None or not is_needed:
            return None
        return read_questions(config, path, tokenizer, config.output_dir)

    evaluates = config.do_predict or (config.do_train and config.eval_every_steps is not None)
    answers = evaluates or config.is_trial
    learns = answers and config.strip_josa == "auto"
    training = questions(config.train_file, config.do_train or learns)
    asked = questions(config.predict_file, evaluates)
    if config.do_train and config.eval_every_steps and asked and not asked.dataset.golds():
        raise ValueError(f"--eval_every_steps: {asked.path} has no gold answers to score with.")
    found = [part for part in (training, asked) if part is not None]
    for part in found:
        describe_questions(config, command, part)
    write_problems(config.output_dir, {part.path: part.dataset for part in found})
    stripper = choose_stripper(config, command, tokenizer, training) if answers else None
    return Setting(config, model_config, tokenizer, training, asked, stripper)


def padded_lengths(config: SquadFlags, features: Features | None) -> tuple[int, ...]:
    """To which windows are padded; features are None where the questions are not known yet."""
    lengths = features.lengths if features is not None else None
    return batch_lengths(config.max_seq_length, config.length_buckets, lengths)
