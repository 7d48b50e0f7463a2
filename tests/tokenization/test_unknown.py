import numpy as np
import pytest

from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.unknown import warn_of_unknown, warn_of_unknown_ids


@pytest.mark.parametrize(
    ("unknown", "pieces", "share"), [(0, 0, ""), (20, 100, ""), (21, 100, "21%")]
)
def test_warn_of_unknown_more_than_a_fifth_is_a_warning(
    unknown: int, pieces: int, share: str, capsys: pytest.CaptureFixture[str]
) -> None:
    warn_of_unknown(unknown, pieces, "a.txt")
    printed = capsys.readouterr().err
    assert (f": warning: {share} of the pieces of a.txt are [UNK], " in printed) == bool(share)


def test_warn_of_unknown_ids_counts_them(
    tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = np.array([tokenizer.vocab.unk_id] * 3 + [tokenizer.vocab.cls_id], np.int32)
    warn_of_unknown_ids(ids, tokenizer, "a.txt")
    assert " 75% of the pieces of a.txt are [UNK]" in capsys.readouterr().err
