import itertools

import numpy as np

from bert_ko.data.share import Share


def test_share_rows_of_all_hosts_are_those_of_the_batch() -> None:
    for parts, count in itertools.product((1, 2, 4), (1, 2, 3)):
        size = 24
        shares = [Share(index, count, parts) for index in range(count)]
        rows = [share.rows(size) for share in shares]
        assert sorted(np.concatenate(rows).tolist()) == list(range(size))
        whole = np.arange(size).reshape(parts, count, -1)
        for index, own in enumerate(rows):
            assert own.reshape(parts, -1).tolist() == whole[:, index].tolist()
            found = shares[index].of({"x": np.arange(size) * 3})["x"]
            assert found.tolist() == (own * 3).tolist()
