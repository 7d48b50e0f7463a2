"""What callers of a tokenizer of transformers ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Text = str | Sequence[str]


@dataclass(frozen=True)
class CallOptions:
    """Arguments of a call as transformers hands them on; names that are not here are not used.

    Attributes:
        padding_strategy: do_not_pad, longest or max_length.
        truncation_strategy: do_not_truncate, longest_first, only_first or only_second.
    """

    add_special_tokens: bool = True
    padding_strategy: str = "do_not_pad"
    truncation_strategy: str = "do_not_truncate"
    max_length: int | None = None
    stride: int = 0
    is_split_into_words: bool = False
    pad_to_multiple_of: int | None = None
    padding_side: str | None = None
    return_tensors: Any = None
    return_token_type_ids: bool | None = None
    return_attention_mask: bool | None = None
    return_overflowing_tokens: bool = False
    return_special_tokens_mask: bool = False
    return_offsets_mapping: bool = False
    return_length: bool = False
    verbose: bool = True
    split_special_tokens: bool | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> CallOptions:
        """Takes what is known of a call's arguments; strategies are enums of transformers."""
        names = {field.name for field in dataclasses.fields(cls)}
        values = {name: value for name, value in arguments.items() if name in names}
        for name in ("padding_strategy", "truncation_strategy"):
            if name in values:
                values[name] = str(getattr(values[name], "value", values[name]))
        return cls(**values)


def is_batch(text: object, is_split_into_words: bool) -> bool:
    """Whether an argument is many texts.

    >>> is_batch(["책을", "읽다"], False), is_batch(["책을", "읽다"], True)
    (True, False)
    """
    if not isinstance(text, list | tuple):
        return False
    return not is_split_into_words or (bool(text) and isinstance(text[0], list | tuple))


def as_pair(item: Any, is_split_into_words: bool) -> tuple[Text, Text | None]:
    """An item of a batch, which is a text or a pair of texts.

    Raises:
        ValueError: another number of texts.
    """
    is_words = is_split_into_words and not (item and isinstance(item[0], list | tuple))
    if isinstance(item, str) or is_words:
        return item, None
    if len(item) != 2:
        raise ValueError(f"An item of a batch is a text or a pair of texts, got {len(item)} texts.")
    return item[0], item[1]
