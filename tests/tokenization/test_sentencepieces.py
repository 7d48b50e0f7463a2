"""SentencePiece with offsets."""

import pickle

import pytest

from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import BLANK


@pytest.fixture(scope="module")
def folded(sentencepiece_folder: str) -> Tokenizer:
    return load_tokenizer(sentencepiece_folder)


@pytest.fixture(scope="module")
def cased(cased_sentencepiece_folder: str) -> Tokenizer:
    return load_tokenizer(cased_sentencepiece_folder)


def surfaces(tokenizer: Tokenizer, text: str) -> list[tuple[str, str]]:
    found = tokenizer.encode(text, offsets=True)
    return [(piece, text[start:end]) for piece, _, start, end in found]


def test_encode_sample_lines_every_piece_is_its_surface(
    cased: Tokenizer, sample_lines: list[str]
) -> None:
    found = [pair for line in sample_lines for pair in surfaces(cased, line) if pair[0] != "[UNK]"]
    assert len(found) > 5_000
    assert [piece.removeprefix(BLANK) for piece, _ in found] == [surface for _, surface in found]


def test_encode_folded_model_gives_original_case_by_offsets(folded: Tokenizer) -> None:
    found = [surface for piece, surface in surfaces(folded, "ＡB 책") if piece != BLANK]
    assert "".join(found) == "ＡB책"
    pieces = "".join(piece for piece, _ in surfaces(folded, "AB 책"))
    assert pieces == "▁ab▁책"


def test_encode_expanded_character_belongs_to_the_first_piece(folded: Tokenizer) -> None:
    rows = [row for row in folded.encode("㈜마을 ½", offsets=True) if row.piece != BLANK]
    sign = [row for row in rows if row.end <= 1]
    assert "".join(row.piece for row in sign) == "(주)"
    assert sign[0][2:] == (0, 1)
    assert {row[2:] for row in sign[1:]} <= {(1, 1)}
    half = [row for row in rows if row.start >= 4]
    assert half[0].piece == "▁1"
    assert half[0][2:] == (4, 5)
    assert {row[2:] for row in half[1:]} == {(5, 5)}


def test_encode_unknown_characters_are_the_vocabulary_s_piece(folded: Tokenizer) -> None:
    encoding = folded.encode("책 🫠🫠 책")
    unknown = encoding.pieces.index("[UNK]")
    assert encoding.ids[unknown] == folded.vocab.unk_id
    assert (encoding.starts[unknown], encoding.ends[unknown]) == (2, 4)
    assert encoding.eojeol_ids == sorted(encoding.eojeol_ids)
    assert encoding.eojeol_ids[-1] == 2


def test_encode_user_token_is_whole_and_control_tokens_are_text(folded: Tokenizer) -> None:
    text = "[NAME]은 [SEP] [unused0]"
    found = surfaces(folded, text)
    assert ("[NAME]", "[NAME]") in found
    assert not {"[SEP]", "[unused0]"} & {piece for piece, _ in found}


def test_encode_trained_text_with_accents_is_known(folded: Tokenizer) -> None:
    # Training and encoding normalise alike: no accent is stripped in one of them alone.
    assert folded.clean_lines("Café") == ["Café"]


def test_encode_blanks_alone_have_no_pieces(folded: Tokenizer) -> None:
    for text in ("", "  ", "\u3000\t", "\x00"):
        assert len(folded.encode(text)) == 0


def test_model_pickle_and_pieces_agree(folded: Tokenizer) -> None:
    model = folded.model
    assert model is not None
    copy = pickle.loads(pickle.dumps(model))
    assert copy.pieces == model.pieces == list(folded.vocab.pieces)
    assert copy.pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert copy.encode("책을 읽었다") == model.encode("책을 읽었다")
