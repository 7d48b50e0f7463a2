"""Texts with masks: their places, the batches that are computed, and the answers."""

from typing import Any

import numpy as np
import pytest

from bert_ko.tasks.fill_mask.masked_lm import MASK, Candidate, MaskedLm, MaskedText
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary

PIECES = (
    *SPECIAL_TOKENS, "도서", "##관", "##에서", "책", "##을", "나무", "##은", "읽", "##었", "##다",
    "##.", "비", "##가",
)  # fmt: skip
PAD, UNK, CLS, SEP, MASKED = range(5)
IDS = {piece: i for i, piece in enumerate(PIECES)}


TOKENIZER = Tokenizer(Vocabulary(PIECES), TokenizerConfig())


def prepared(text: str, max_seq_length: int = 64) -> MaskedText:
    return MaskedLm(TOKENIZER, max_seq_length, dict).prepare(text, "here")


@pytest.mark.parametrize(
    ("text", "pieces", "starts"),
    [
        ("[MASK]", ["[MASK]"], [0]),
        ("도서관에서 [MASK]을 읽었다.",
         ["도서", "##관", "##에서", "[MASK]", "##을", "읽", "##었", "##다", "##."], [6]),
        ("도서[MASK]에서", ["도서", "[MASK]", "##에서"], [2]),
        ("  [MASK]  책[MASK]", ["[MASK]", "책", "[MASK]"], [2, 11]),
        ("[MASK][MASK]은", ["[MASK]", "[MASK]", "##은"], [0, 6]),
        ("책을\t[MASK] 나무", ["책", "##을", "[MASK]", "나무"], [3]),
        ("뷁 [MASK]", ["[UNK]", "[MASK]"], [2]),
    ],
)  # fmt: skip
def test_prepare_masks_beside_josa_and_blanks_keep_their_places(
    text: str, pieces: list[str], starts: list[int]
) -> None:
    found = prepared(text)
    ids = [IDS[piece] for piece in pieces]
    positions = [i + 1 for i, piece in enumerate(pieces) if piece == MASK]
    assert found == MaskedText(text, [CLS, *ids, SEP], positions, starts)
    assert all(text[start:].startswith(MASK) for start in starts)


@pytest.mark.parametrize("text", ["", "책을", "[mask]", "[MASK", "[ MASK ]"])
def test_prepare_without_mask_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as error:
        prepared(text)
    assert str(error.value) == f"here: no [MASK] in {text!r}."
    with pytest.raises(ValueError) as error:
        MaskedLm(TOKENIZER, 64, Compute()).fill_mask(["[MASK]", text])
    assert str(error.value) == f"text 2: no [MASK] in {text!r}."


def test_prepare_longest_text_fits_and_one_piece_more_is_refused() -> None:
    assert len(prepared("책 책 책 책 책 [MASK]", 8).ids) == 8
    with pytest.raises(ValueError) as error:
        prepared("책 책 책 책 책 책 [MASK]", 8)
    assert str(error.value) == "here: 7 pieces, but the model takes 6; shorten the text."


class Compute:
    """Remembers its batches; the likeliest piece is that of the left neighbour, then the ids."""

    def __init__(self, size: int = len(PIECES)):
        self.size = size
        self.batches: list[dict[str, Any]] = []

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.batches.append(batch)
        left = batch["input_ids"][
            np.arange(len(batch["input_ids"]))[:, None], batch["masked_lm_positions"] - 1
        ]
        found = np.ones((*left.shape, self.size), np.float32)
        np.put_along_axis(found, left[..., None], 3, axis=2)
        return {"probabilities": found / np.float32(self.size + 2)}


def filled(
    texts: list[str], top_k: int = 2, batch_size: int = 2, length: int = 64, **kwargs: Any
) -> tuple[list[Any], Compute]:
    compute = Compute(**kwargs)
    masked_lm = MaskedLm(TOKENIZER, length, compute, batch_size)
    return list(masked_lm.fill([masked_lm.prepare(text, "here") for text in texts], top_k)), compute


def test_fill_every_mask_is_filled_by_itself() -> None:
    (masks,), _ = filled(["도서[MASK]에서 나무[MASK] 책"])
    share = pytest.approx(3 / 20)
    other = pytest.approx(1 / 20)
    assert [mask.start for mask in masks] == [2, 13]
    assert masks[0].candidates == [
        Candidate("도서", 5, share, "도서도서에서 나무[MASK] 책"),
        # Among equals the smaller id comes first.
        Candidate("[PAD]", 0, other, "도서[PAD]에서 나무[MASK] 책"),
    ]
    assert masks[1].candidates[0] == Candidate("나무", 10, share, "도서[MASK]에서 나무나무 책")
    (masks,), _ = filled(["도서관[MASK] 책"], top_k=1)  # inside a word the text has no ##
    assert masks[0].candidates[0][::3] == ("##관", "도서관관 책")


def test_fill_batches_are_of_one_size_and_filled_up() -> None:
    texts = ["책 [MASK]", "나무[MASK] [MASK] 책을", "비가 [MASK]"]
    found, compute = filled(texts, length=48)
    assert [len(masks) for masks in found] == [1, 2, 1]
    first, second = compute.batches
    for batch in (first, second):
        assert {name: value.dtype for name, value in batch.items()} == dict.fromkeys(
            ("input_ids", "input_mask", "segment_ids", "masked_lm_positions"), np.int32
        )
        assert batch["input_ids"].shape == batch["input_mask"].shape == (2, 32)
        assert not batch["segment_ids"].any()
    rows = [[CLS, 8, 4, SEP], [CLS, 10, 4, 4, 8, 9, SEP]]
    for ids, mask, row in zip(first["input_ids"], first["input_mask"], rows, strict=True):
        assert ids.tolist() == row + [PAD] * (32 - len(row))
        assert mask.tolist() == [1] * len(row) + [0] * (32 - len(row))
    assert first["masked_lm_positions"].tolist() == [[2, 0], [2, 3]]
    assert second["masked_lm_positions"].tolist() == [[3], [0]]
    assert not second["input_mask"][1].any()


@pytest.mark.parametrize(("words", "length"), [(29, 32), (30, 40), (37, 40)])
def test_fill_length_of_a_batch_is_never_more_than_the_model_has(words: int, length: int) -> None:
    _, compute = filled(["책 " * words + "[MASK]"], length=40)
    assert compute.batches[0]["input_ids"].shape == (2, length)


def test_fill_top_k_above_the_vocabulary_is_all_of_it() -> None:
    (masks,), _ = filled(["책 [MASK]"], top_k=1000)
    assert sorted(candidate.piece for candidate in masks[0].candidates) == sorted(PIECES)
    assert sum(candidate.probability for candidate in masks[0].candidates) == pytest.approx(1)
    (masks,), _ = filled(["책 [MASK]"], top_k=1000, size=64)  # rows of padding are no pieces
    assert len(masks[0].candidates) == len(PIECES)
    assert filled([])[0] == []


@pytest.mark.parametrize("batch_size", [1, 2, 9])
def test_fill_mask_a_list_is_filled_as_each_text_is(batch_size: int) -> None:
    compute = Compute()
    masked_lm = MaskedLm(TOKENIZER, 64, compute, batch_size)
    texts = ["책 [MASK]", "나무 " * 40 + "[MASK]", " [MASK]은\n[MASK]을", "비가 [MASK]"]
    found = masked_lm.fill_mask(texts, top_k=2)
    assert [[mask.start for mask in masks] for masks in found] == [[2], [120], [1, 9], [3]]
    assert {len(batch["input_ids"]) for batch in compute.batches} == {batch_size}
    assert found == [masked_lm.fill_mask(text, top_k=2) for text in texts]
    assert found[0][0].candidates[0].text == "책 책" and len(found[0][0].candidates) == 2
    assert masked_lm.fill_mask([]) == []
