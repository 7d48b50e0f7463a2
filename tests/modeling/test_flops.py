"""Operations of an update."""

from typing import Any

import numpy as np
import pytest

from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.flops import update_flops

BASE = BertConfig(vocab_size=30522)


def make_batch(lengths: list[int], width: int, masked: int = 0) -> dict[str, Any]:
    mask = (np.arange(width) < np.array(lengths)[:, None]).astype(np.int32)
    weights = np.zeros((len(lengths), 20), np.float32)
    weights.ravel()[:masked] = 1
    return {"input_mask": mask, "masked_lm_weights": weights}


def test_update_flops_of_base() -> None:
    # 12 layers of 7,077,888 weights, each multiplied once by every piece, and twice 768
    # multiplications for each pair of pieces: 3 * 2 * (84.9e6 * 128 + 12 * 2 * 768 * 128 ** 2).
    batch = make_batch([128], 128)
    assert update_flops(BASE, batch) == 6 * (84_934_656 * 128 + 18_432 * 128**2)
    # A masked piece meets a square kernel and the vocabulary.
    more = update_flops(BASE, make_batch([128], 128, masked=19))
    assert more == update_flops(BASE, batch) + 6 * 19 * (768 * 768 + 768 * 30522)  # type: ignore[operator]


def test_update_flops_leaves_padding_out_and_packing_changes_nothing() -> None:
    lengths = [30, 7, 91]
    alone = update_flops(BASE, make_batch(lengths, 91))
    assert update_flops(BASE, make_batch(lengths, 128)) == alone
    packed = make_batch([128], 128)
    packed["sequence_ids"] = np.repeat([[1, 2, 3]], lengths)[None]
    packed["sequence_lengths"] = np.array([[*lengths, 0, 0]], np.int32)
    assert update_flops(BASE, packed) == alone


def test_update_flops_of_an_encoder_that_counts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from bert_ko.modeling import flops
    from bert_ko.modeling.encoder import BERT

    uncounted = BERT.__class__(BERT.config_class, BERT.scope, BERT.specs, BERT.layers)
    monkeypatch.setattr(flops, "encoder_of", lambda config: uncounted)
    assert update_flops(BASE, make_batch([5], 8)) is None
