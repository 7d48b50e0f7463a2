"""Flags that decide what an instance is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from bert_ko.data.corpus import CorpusFlags
from bert_ko.data.features import FeatureNames, FeatureSpec, NextSentence, instance_features
from bert_ko.data.masking import MaskingConfig
from bert_ko.engines import EngineFlags
from bert_ko.flags import Flags, flag
from bert_ko.tokenization.config import WordUnit
from bert_ko.tokenization.settings import TokenizerSettings

Objective = Literal["masked_lm", "bilm"]
Overflow = Literal["carry", "cut"]
MAX_LENGTH = 1 << 20  # far above any use; more would be a slip or a damaged file


def overflow_unsaid(next_sentence: NextSentence) -> Overflow:
    """What happened to text that does not fit before there was a flag for it."""
    return "carry" if next_sentence == "none" else "cut"


@dataclass(frozen=True)
class InstanceFlags(Flags):
    """Lengths, pairing, masking and names of pre-training instances."""

    group = "Instances"

    max_seq_length: int = flag(
        128,
        main=True,
        help="Pieces of a sequence, [CLS] and [SEP] included.",
        at_least=8,
        at_most=MAX_LENGTH,
    )
    max_predictions_per_seq: int = flag(
        20, main=True, help="Most masked pieces of a sequence.", at_least=1, at_most=MAX_LENGTH
    )
    masked_lm_prob: float = flag(
        0.15, help="Share of the pieces of a sequence to mask, in (0, 1).", above=0, below=1
    )
    short_seq_prob: float = flag(
        0.1, at_least=0, at_most=1,
        help="Share of documents cut into sequences of a random shorter length, in [0, 1].",
    )  # fmt: skip
    dupe_factor: int = flag(
        10, at_least=1, at_most=MAX_LENGTH,
        main=True,
        help="Copies of the corpus, each with other pairs and masks; dynamic masking makes one.",
    )  # fmt: skip
    random_seed: int = flag(
        12345, help="Seed of every random choice, in [0, 2**63).", at_least=0, below=1 << 63
    )
    do_whole_word_mask: bool = flag(False, main=True, help="Mask all pieces of a word together.")
    whole_word_unit: Literal["morpheme", "eojeol"] = flag(
        "morpheme", help="What --do_whole_word_mask calls a word."
    )
    max_ngram_size: int = flag(
        1,
        help="Longest run of words masked together; n has weight 1/n.",
        at_least=1,
        at_most=MAX_LENGTH,
    )
    replace_unit: Literal["piece", "word"] = flag(
        "piece",
        help="Whether 80 % [MASK], 10 % unchanged, 10 % random is drawn for each piece (as by "
        "Google) or for each word.",
    )
    masking: Literal["static", "dynamic"] = flag(
        "static",
        main=True,
        help="dynamic: write unmasked sequences with word numbers, for masking at training time.",
    )
    next_sentence: NextSentence = flag(
        "nsp",
        help="nsp: the second segment follows or is random; sop: follows or is swapped; none: "
        "one segment of full sentences.",
    )
    feature_names: FeatureNames = flag(
        "v1", help="v1: Google's names; v2: input_word_ids and input_type_ids."
    )
    overflow: Overflow | None = flag(
        None,
        help="What happens to text that does not fit the length. carry: it begins the next "
        "sequence, so that nothing is lost; cut: it is cut off, as by Google. Default: carry with "
        "--masking=dynamic or --next_sentence=none, else cut.",
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: as `Flags`, or two flags contradict each other."""
        super().__post_init__()
        if self.next_sentence == "none" and self.overflow == "cut":
            raise ValueError(
                "--overflow=cut has no meaning with --next_sentence=none, which cuts nothing off; "
                "leave it out."
            )

    @property
    def effective_overflow(self) -> Overflow:
        """What happens to text that does not fit, by the flag or its default."""
        if self.overflow is not None:
            return self.overflow
        return "carry" if self.masking == "dynamic" else overflow_unsaid(self.next_sentence)

    @property
    def copies(self) -> int:
        """How often each document is walked through."""
        return 1 if self.masking == "dynamic" else self.dupe_factor

    @property
    def features(self) -> tuple[FeatureSpec, ...]:
        """The schema of the records."""
        return instance_features(
            self.max_seq_length, self.max_predictions_per_seq, self.masking == "dynamic"
        )

    @property
    def masking_config(self) -> MaskingConfig:
        """How static targets are drawn."""
        by_word = self.replace_unit == "word"
        return MaskingConfig(
            self.masked_lm_prob, self.max_predictions_per_seq, self.max_ngram_size, by_word
        )


@dataclass(frozen=True)
class PipelineFlags(EngineFlags, CorpusFlags, InstanceFlags):
    """From corpus files to shards."""

    group = "Shards"

    output_file: tuple[str, ...] = flag(
        help="Shards to write: files separated by commas (instances go round-robin), or "
        "name.tfrecord@64. A name that ends in .gz is compressed."
    )
    objective: Objective = flag(
        "masked_lm",
        help="What is trained on the shards. masked_lm: BERT, on instances of pieces; bilm: a "
        "bidirectional language model such as ELMo, on words, with the --vocab_file of "
        "bin/build_vocab --words.",
    )
    bilm_unit: WordUnit | None = flag(
        None,
        help="What --objective=bilm calls a word. Default, and the only one that is possible: that "
        "of the vocabulary.",
    )
    num_shards: int | None = flag(None, help="The same as @N in --output_file.")
    drop_duplicate_documents: bool = flag(
        False, help="Keep only the first of documents with exactly the same text."
    )
    work_dir: str | None = flag(
        None, affects_output=False,
        help="Folder for intermediate files, about as large as the output when there are few "
        "shards, else about as large as the text; local or remote (s3://), and in reach of all "
        "executors with --engine=spark. Default: beside the output.",
    )  # fmt: skip
    overwrite: bool = flag(
        False, help="Replace what an earlier run with other flags left.", affects_output=False
    )

    @property
    def meaningful_flags(self) -> frozenset[str]:
        """Names of the flags that have a meaning with the objective."""
        names = frozenset(field.name for field in dataclasses.fields(self))
        return names - _meaningless(self.objective).keys()


def _meaningless(objective: Objective) -> dict[str, str]:
    """The flags that have no meaning with an objective, and why."""
    if objective == "masked_lm":
        return dict.fromkeys(["bilm_unit"], "which has pieces for words")
    instances = {field.name for field in dataclasses.fields(InstanceFlags)} - {"random_seed"}
    tokenizer = [field.name for field in dataclasses.fields(TokenizerSettings)]
    return {
        **dict.fromkeys(sorted(instances), "which masks nothing and pairs no segments"),
        **dict.fromkeys(tokenizer, "whose vocabulary says how text becomes words"),
    }


def refuse_meaningless(objective: Objective, given: Iterable[str]) -> None:
    """Refuses given flags that have no meaning with an objective, by a ValueError."""
    reasons = _meaningless(objective)
    for name in given:
        if name in reasons:
            raise ValueError(
                f"--{name} has no meaning with --objective={objective}, {reasons[name]}; "
                "leave it out."
            )
