"""The tokenizer of this folder for transformers: ``AutoTokenizer`` with ``trust_remote_code=True``.

It needs transformers 4.23 or newer and python-mecab-ko (from Python 3.13 on mecab-ko and
python-mecab-ko-dic), or sentencepiece if the folder has a ``spm.model``. The modules
``bert_ko_*.py`` beside this file do the work; this one translates.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import BatchEncoding, PreTrainedTokenizer

from bert_ko.tokenization.config import CONFIG_NAME, TokenizerConfig
from bert_ko.tokenization.dictionary_files import dictionaries_in
from bert_ko.tokenization.export.piece_encoding import Frame, PieceEncoding, Truncation, cut
from bert_ko.tokenization.export.special_tokens import SpecialTokenizer, in_words
from bert_ko.tokenization.tokenizer import Encoding, Tokenizer
from bert_ko.tokenization.vocabulary import BLANK
from bert_ko.tokenization.wordpiece import without_prefix

Text = str | Sequence[str]
_FILES = {"vocab_file": "vocab.txt", "spm_file": "spm.model"}


@dataclass(frozen=True)
class CallOptions:
    """Arguments of a call as transformers hands them on; it has more, which are not used."""

    add_special_tokens: bool = True
    padding_strategy: str = "do_not_pad"  # or longest, max_length
    truncation_strategy: str = "do_not_truncate"  # or longest_first, only_first, only_second
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
        """Selects what is known of a call's arguments; strategies are enums of transformers."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{k: getattr(v, "value", v) for k, v in arguments.items() if k in names})

    def is_batch(self, text: Any) -> bool:
        """Whether an argument is many texts, not one text nor its words."""
        if not isinstance(text, list | tuple):
            return False
        return not self.is_split_into_words or (bool(text) and isinstance(text[0], list | tuple))

    def as_pair(self, item: Any) -> tuple[Text, Text | None]:
        """An item of a batch, which is a text or a pair of texts."""
        is_words = self.is_split_into_words and not (item and isinstance(item[0], list | tuple))
        if isinstance(item, str) or is_words:
            return item, None
        if len(item) != 2:
            raise ValueError(
                f"An item of a batch is a text or a pair of texts, got {len(item)} texts."
            )
        return item[0], item[1]


class BertKoTokenizer(PreTrainedTokenizer):  # type: ignore[misc]
    """The same ids and the same offsets as bert_ko's own tokenizer.

    Args:
        vocab_file: vocab.txt.
        spm_file: spm.model, for that type alone.
        bert_ko: the settings that have this name in tokenizer_config.json.
        kwargs: of every tokenizer of transformers.

    Raises:
        ImportError: MeCab is needed and not installed.
        ValueError: wrong settings or files, or another MeCab dictionary is installed.

    Differs: special tokens in a text, such as [MASK], are special tokens, as everywhere in
        transformers; with ``split_special_tokens=True`` they are plain text, as in bert_ko.
    """

    vocab_files_names = _FILES
    model_input_names = ["input_ids", "token_type_ids", "attention_mask"]  # noqa: RUF012
    padding_side = "right"
    _auto_class = "AutoTokenizer"  # save_pretrained writes auto_map for this

    def __init__(
        self,
        vocab_file: str | None = None,
        spm_file: str | None = None,
        bert_ko: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        self.bert_ko = dict(bert_ko or {})
        self._files = {"vocab_file": vocab_file, "spm_file": spm_file}
        self._repository = kwargs.get("name_or_path", "")
        self._plain = self._open()
        self._special: tuple[list[str], SpecialTokenizer] | None = None
        for name in ("unk", "sep", "pad", "cls", "mask"):
            kwargs.setdefault(f"{name}_token", f"[{name.upper()}]")
        kwargs.setdefault("clean_up_tokenization_spaces", False)
        super().__init__(bert_ko=self.bert_ko, **kwargs)

    def _open(self) -> Tokenizer:
        config = TokenizerConfig.from_dict(self.bert_ko, CONFIG_NAME)
        key = "spm_file" if config.tokenizer_type == "sentencepiece" else "vocab_file"
        if (path := self._files[key]) is None:
            raise ValueError(
                f"There is no {_FILES[key]} in the tokenizer's folder; a tokenizer of the type "
                f"{config.tokenizer_type} needs it."
            )
        paths = dictionaries_in(os.path.dirname(path), config.mecab_user_dictionary)
        dictionaries = [path if os.path.isfile(path) else self._fetch(path) for path in paths]
        return Tokenizer.open(path, config, dictionaries)

    def _fetch(self, path: str) -> str:
        # From the Hub, transformers brings the files alone whose names it knows.
        from transformers.utils import cached_file

        return str(cached_file(self._repository, os.path.basename(path)))

    @property
    def is_fast(self) -> bool:
        """True: it gives offsets and ``Encoding`` objects, which pipelines ask of fast ones."""
        return True

    @property
    def vocab_size(self) -> int:
        """Number of pieces, without added tokens."""
        return len(self._plain.vocab)

    def get_vocab(self) -> dict[str, int]:
        """Pieces and added tokens to ids."""
        return {**self._plain.vocab, **self.get_added_vocab()}

    def _convert_token_to_id(self, token: str) -> int:
        return self._plain.vocab.get(token, self._plain.vocab.unk_id)

    def _convert_id_to_token(self, index: int) -> str:
        return self._plain.vocab.pieces[index]

    def _add_tokens(self, *args: Any, **kwargs: Any) -> int:
        self._special = None
        return int(super()._add_tokens(*args, **kwargs))

    def tokenize(self, text: str, pair: str | None = None, **kwargs: Any) -> list[str]:
        """Pieces of a text, or of a pair; with ``add_special_tokens`` also [CLS] and [SEP]."""
        encode = self._encoder(CallOptions(split_special_tokens=kwargs.get("split_special_tokens")))
        texts = [encode(text) for text in ([text] if pair is None else [text, pair])]
        add = kwargs.get("add_special_tokens", False)
        return PieceEncoding(cut(texts, Truncation())[0], self._frame(), add).tokens

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        return self._plain.tokenize(text)

    def convert_tokens_to_string(self, tokens: list[str] | str) -> str:
        """Text of pieces: with ``##`` on all inside an eojeol, the blanks are those of the text."""
        tokens = [tokens] if isinstance(tokens, str) else tokens
        if self._plain.model is not None:
            special = set(self.all_special_tokens)
            parts = [f" {token} " if token in special else token for token in tokens]
            return "".join(parts).replace(BLANK, " ").strip(" ")
        # The first piece stays as it is, so that a single one can be told from a whole word.
        parts = list(tokens[:1])
        for token in tokens[1:]:
            text = without_prefix(token)
            parts += [text] if text != token else [" ", token]
        return "".join(parts)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """[CLS] A [SEP], or [CLS] A [SEP] B [SEP]."""
        row = [self.cls_token_id, *token_ids_0, self.sep_token_id]
        return row if token_ids_1 is None else [*row, *token_ids_1, self.sep_token_id]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """0 for [CLS] A [SEP], 1 for B [SEP]."""
        row = [0] * (len(token_ids_0) + 2)
        return row if token_ids_1 is None else row + [1] * (len(token_ids_1) + 1)

    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: list[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """1 for special tokens."""
        if already_has_special_tokens:
            special = set(self.all_special_ids)
            return [int(i in special) for i in token_ids_0]
        row = [1, *[0] * len(token_ids_0), 1]
        return row if token_ids_1 is None else [*row, *[0] * len(token_ids_1), 1]

    def _encode_plus(self, text: Any, text_pair: Any = None, **kwargs: Any) -> BatchEncoding:
        options = CallOptions.of(kwargs)
        if options.is_batch(text):  # transformers 5 has one method for both
            pairs = text if text_pair is None else list(zip(text, text_pair, strict=True))
            return self._batch_encode_plus(pairs, **kwargs)
        batch = self._encode([(text, text_pair)], options)
        if options.return_tensors is not None or options.return_overflowing_tokens:
            return batch
        rows = {name: rows[0] for name, rows in batch.items()}
        return BatchEncoding(rows, batch.encodings)

    def _batch_encode_plus(
        self, batch_text_or_text_pairs: Sequence[Any], **kwargs: Any
    ) -> BatchEncoding:
        options = CallOptions.of(kwargs)
        return self._encode(list(map(options.as_pair, batch_text_or_text_pairs)), options)

    def _encode(
        self, pairs: Sequence[tuple[Text, Text | None]], options: CallOptions
    ) -> BatchEncoding:
        frame, encode = self._frame(), self._encoder(options)
        truncation = functools.cache(lambda texts: self._truncation(texts, options))
        rows: list[PieceEncoding] = []
        samples: list[int] = []
        for number, pair in enumerate(pairs):
            texts = [encode(text) for text in pair if text is not None]
            windows = cut(texts, truncation(len(texts)))
            found = [PieceEncoding(window, frame, options.add_special_tokens) for window in windows]
            found[0].overflowing = found[1:]
            kept = found if options.return_overflowing_tokens else found[:1]
            rows += kept
            samples += [number] * len(kept)
        self._pad_rows(rows, options)
        columns = self._columns(rows, options)
        if options.return_overflowing_tokens:
            columns["overflow_to_sample_mapping"] = samples
        for row in rows:
            self._eventual_warn_about_too_long_sequence(
                row.ids, options.max_length, options.verbose
            )
        if len(set(map(len, rows))) == 1 and str(options.return_tensors) in ("pt", "np"):
            # transformers goes through lists piece by piece, which is slower than all of this.
            columns = {name: np.array(column) for name, column in columns.items()}
        return BatchEncoding(columns, rows, tensor_type=options.return_tensors)

    def _encoder(self, options: CallOptions) -> Callable[[Text], Encoding]:
        splits = options.split_special_tokens
        if splits is None:
            splits = getattr(self, "split_special_tokens", False)
        encode = self._plain.encode if splits else self._special_tokenizer().encode

        def encode_text(text: Text) -> Encoding:
            if isinstance(text, str):
                return encode(text)
            if options.is_split_into_words and all(isinstance(word, str) for word in text):
                return in_words(encode(" ".join(text)), text)
            raise ValueError(
                "A text must be a string, or a list of strings with is_split_into_words=True, got "
                f"{type(text).__name__}."
            )

        return encode_text

    def _special_tokenizer(self) -> SpecialTokenizer:
        tokens = list(map(str, [*self.all_special_tokens, *self.get_added_vocab()]))
        if self._special is None or self._special[0] != tokens:
            vocab = self._plain.vocab
            ids = {token: self.convert_tokens_to_ids(token) for token in tokens}
            known = {token: i for token, i in ids.items() if i != vocab.unk_id or token in vocab}
            self._special = tokens, SpecialTokenizer(self._plain, known)
        return self._special[1]

    def _frame(self) -> Frame:
        special = map(str, (self.cls_token, self.sep_token, self.pad_token))
        cls, sep, pad = [(token, self.convert_tokens_to_ids(token)) for token in special]
        return Frame(cls, sep, pad, self.pad_token_type_id)

    def _truncation(self, texts: int, options: CallOptions) -> Truncation:
        strategy = options.truncation_strategy
        added = (1 + texts) * options.add_special_tokens
        room = None if options.max_length is None else options.max_length - added
        if strategy == "longest_first" and texts == 2 and options.return_overflowing_tokens:
            raise ValueError(
                "Overflowing tokens of pairs need truncation='only_first' or 'only_second'."
            )
        return Truncation(strategy, room, options.stride, getattr(self, "truncation_side", "right"))

    def _pad_rows(self, rows: Sequence[PieceEncoding], options: CallOptions) -> None:
        strategy = options.padding_strategy
        if strategy == "do_not_pad" or not rows:
            return
        length = max(map(len, rows))
        if strategy == "max_length" and options.max_length is not None:
            length = options.max_length
        if options.pad_to_multiple_of:
            length = -(-length // options.pad_to_multiple_of) * options.pad_to_multiple_of
        for row in rows:
            row.pad_to(length, options.padding_side or self.padding_side)

    def _columns(self, rows: Sequence[PieceEncoding], options: CallOptions) -> dict[str, Any]:
        wanted = {
            "input_ids": ("ids", True),
            "token_type_ids": ("type_ids", options.return_token_type_ids),
            "attention_mask": ("attention_mask", options.return_attention_mask),
            "special_tokens_mask": ("special_tokens_mask", options.return_special_tokens_mask),
            "offset_mapping": ("offsets", options.return_offsets_mapping),
        }
        columns: dict[str, list[Any]] = {
            name: [getattr(row, attribute) for row in rows]
            for name, (attribute, is_wanted) in wanted.items()
            if (name in self.model_input_names if is_wanted is None else is_wanted)
        }
        if options.return_length:
            columns["length"] = [len(row) for row in rows]
        return columns

    def save_vocabulary(
        self, save_directory: str, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Writes vocabulary and code, all that a folder needs beside its JSON files."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        sources = {prefix + _FILES[key]: path for key, path in self._files.items() if path}
        modules = [Path(__file__), *sorted(Path(__file__).parent.glob("bert_ko_*.py"))]
        for path in [*self._plain.user_dictionaries, *map(str, modules)]:
            sources[os.path.basename(path)] = path
        for name, source in sources.items():
            target = os.path.join(save_directory, name)
            if not (os.path.exists(target) and os.path.samefile(source, target)):
                shutil.copyfile(source, target)
        return tuple(os.path.join(save_directory, name) for name in sources)
