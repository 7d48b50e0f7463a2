"""The tokenizer of a folder that was exported with its model, and the rows that the model reads."""

from __future__ import annotations

import json
from pathlib import Path

from bert_ko.tokenization.config import CONFIG_NAME, HUGGING_FACE_KEY, TokenizerConfig
from bert_ko.tokenization.dictionary_files import dictionaries_in
from bert_ko.tokenization.export.piece_encoding import Frame, PieceEncoding, Truncation, cut
from bert_ko.tokenization.tokenizer import Tokenizer


class ModelRows:
    """Makes rows of texts.

    Args:
        folder: of the tokenizer.
        kept: pieces that stay whole in a text, such as [MASK].

    Raises:
        FileNotFoundError: the folder has no tokenizer.
        ImportError: MeCab is needed and not installed.
        ValueError: wrong settings or files, or another MeCab dictionary is installed.
    """

    def __init__(self, folder: str | Path, *kept: str):
        path = Path(folder, CONFIG_NAME)
        values = json.loads(path.read_text(encoding="utf-8"))
        config = TokenizerConfig.from_dict(values[HUGGING_FACE_KEY], str(path))
        is_model = config.tokenizer_type == "sentencepiece"
        dictionaries = dictionaries_in(str(folder), config.mecab_user_dictionary)
        name = "spm.model" if is_model else "vocab.txt"
        opened = Tokenizer.open(str(Path(folder, name)), config, dictionaries)
        self.tokenizer = opened.keeping(*kept) if kept else opened
        vocab = opened.vocab
        self._frame = Frame(
            ("[CLS]", vocab.cls_id), ("[SEP]", vocab.sep_id), ("[PAD]", vocab.pad_id)
        )

    def cut(
        self,
        first: str,
        second: str | None = None,
        *,
        max_length: int,
        max_first: int | None = None,
        step: int | None = None,
    ) -> list[PieceEncoding]:
        """The rows of a text or of a pair, each with [CLS] and [SEP], without padding.

        Args:
            first: a text.
            second: another; pieces are taken off the longer one of a pair.
            max_length: pieces of a row.
            max_first: pieces of the first text that are kept.
            step: pieces between the beginnings of the second text's windows, which then has a row
                for each, none of them cut.

        Returns:
            One row of a pair without ``step``, else as many as the text needs.
        """
        texts = [self.tokenizer.encode(text) for text in (first, second) if text is not None]
        if max_first is not None:
            texts[:1] = cut(texts[:1], Truncation("only_first", max_first))[0]
        room = max_length - 1 - len(texts)
        truncation = Truncation("longest_first" if len(texts) == 2 else "only_first", room)
        if step is not None:
            overlap = max(0, room - len(texts[0]) - step)
            truncation = Truncation("only_second", room, overlap)
        return [PieceEncoding(window, self._frame, True) for window in cut(texts, truncation)]
