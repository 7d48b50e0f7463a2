"""Flags of run_ner."""

from __future__ import annotations

from dataclasses import dataclass

from bert_ko.flags import flag
from bert_ko.tasks.ner.examples import FileFormat
from bert_ko.tasks.settings import LabelFlags


@dataclass(frozen=True)
class NerFlags(LabelFlags):
    """Formats of files, and the CRF."""

    group = "Entities"

    remembered = (*LabelFlags.remembered, "use_crf")

    file_format: FileFormat = flag(
        "auto",
        help="Of the files: klue, a character and its tag a line; naver, SENTENCE tab TAGS, or "
        "number, word and tag a line; conll, a token and its tag a line; kmou, a morpheme, its tag "
        "and what is between a line; auto, any of them, found by the first lines.",
        affects_output=False,
    )
    extra_train_file: tuple[str, ...] = flag(
        (), help="More sentences to train on, of the same unit (character or word)."
    )
    use_crf: bool = flag(
        False,
        main=True,
        help="A linear-chain CRF over the tags; ill-formed sequences are never predicted.",
    )
    crf_learning_rate_multiple: float = flag(
        100.0,
        help="Learning rate of the CRF's transitions, as a multiple of --learning_rate.",
        at_least=0,
        below=1e6,
    )
