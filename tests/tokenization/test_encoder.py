"""Lines to arrays: the same ids as the tokenizer, and the bits of words."""

import numpy as np
import pytest

from bert_ko.tokenization import encoder as encoder_module
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.encoder import EOJEOL_START, ID_MASK, MORPHEME_START, LineEncoder
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary

PIECES = (*SPECIAL_TOKENS, "[이름]", "도서", "##관", "##에", "에", "책")


def check_lines(tokenizer: Tokenizer, lines: list[str], encoder: LineEncoder | None = None) -> None:
    encoded = (encoder or LineEncoder(tokenizer)).encode(lines)
    assert encoded.pieces.dtype == np.uint32
    assert encoded.lengths.dtype == np.int32
    assert encoded.lengths.sum() == len(encoded.pieces)
    rows = np.split(encoded.pieces, np.cumsum(encoded.lengths)[:-1])
    for line, packed in zip(lines, rows if lines else [], strict=True):
        expected = tokenizer.encode(line)
        assert (packed & ID_MASK).tolist() == expected.ids
        for bit, numbers in (
            (MORPHEME_START, expected.morpheme_ids),
            (EOJEOL_START, expected.eojeol_ids),
        ):
            starts = [i == 0 or numbers[i] != numbers[i - 1] for i in range(len(numbers))]
            assert ((packed & np.uint32(bit)) != 0).tolist() == starts


def test_encode_worked_example_packs_ids_and_bits() -> None:
    encoder = LineEncoder(Tokenizer(Vocabulary(PIECES), TokenizerConfig()))
    encoded = encoder.encode(["도서관에 책", "", "책"])
    word, eojeol = MORPHEME_START, MORPHEME_START | EOJEOL_START
    assert encoded.pieces.tolist() == [6 | eojeol, 7, 8 | word, 10 | eojeol, 10 | eojeol]
    assert encoded.lengths.tolist() == [4, 0, 1]
    for lines in ([], [""], ["", ""]):
        encoded = LineEncoder(Tokenizer(Vocabulary(PIECES), TokenizerConfig())).encode(lines)
        assert (encoded.pieces.tolist(), encoded.lengths.tolist()) == ([], [0] * len(lines))


@pytest.mark.parametrize("kind", ["vocab", "wordpiece", "sentencepiece"])
def test_encode_sample_lines_equal_the_tokenizer(
    kind: str, request: pytest.FixtureRequest, sample_lines: list[str]
) -> None:
    tokenizer = load_tokenizer(request.getfixturevalue(f"{kind}_folder"))
    lines = [*tokenizer.clean_lines("\n".join(sample_lines)), "", "🫠 🫠🫠", "a" * 5000]
    encoder = LineEncoder(tokenizer)
    check_lines(tokenizer, lines, encoder)
    check_lines(tokenizer, lines[::-1], encoder)


def test_encode_real_lines_equal_the_tokenizer(tokenizer: Tokenizer, real_lines: list[str]) -> None:
    check_lines(tokenizer, tokenizer.clean_lines("\n".join(real_lines[::10])))


def test_encode_kept_tokens_equal_the_tokenizer() -> None:
    config = TokenizerConfig(additional_special_tokens=("[이름]",))
    lines = ["[이름]에 책", "책[이름]에 [이름]", "  [이름]  ", "[이름][이름]"]
    check_lines(Tokenizer(Vocabulary(PIECES), config), lines)


def test_encode_many_blocks_and_a_full_table_change_nothing(
    tokenizer: Tokenizer, sample_lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_module, "_BLOCK_LINES", 7)
    monkeypatch.setattr(encoder_module, "_MAX_TABLE_WORDS", 50)
    check_lines(tokenizer, tokenizer.clean_lines("\n".join(sample_lines)))
