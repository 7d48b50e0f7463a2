"""Flags of pre-training that are none of the other tasks'."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from bert_ko.flags import Flags, flag


@dataclass(frozen=True)
class MaskingFlags(Flags):
    """How shards of --masking=dynamic are masked; None means as their manifest says."""

    masked_lm_prob: float | None = flag(
        None,
        help="Share of the pieces to mask, in (0, 1). Default: as the shards were prepared.",
        above=0,
        below=1,
    )
    do_whole_word_mask: bool | None = flag(
        None, help="Mask all pieces of a word together. Default: as the shards were prepared."
    )
    whole_word_unit: Literal["morpheme", "eojeol"] | None = flag(
        None, help="What a word is. Default: as the shards were prepared."
    )
    max_ngram_size: int | None = flag(
        None,
        help="Longest run of words masked together. Default: as the shards were prepared.",
        at_least=1,
    )
    replace_unit: Literal["piece", "word"] | None = flag(
        None, help="What the 80/10/10 % are drawn for. Default: as the shards were prepared."
    )

    @property
    def given_masking(self) -> dict[str, Any]:
        """The flags that the user has given, by name."""
        values = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(MaskingFlags)
        }
        return {name: value for name, value in values.items() if value is not None}
