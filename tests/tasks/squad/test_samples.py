from pathlib import Path

import numpy as np
import pytest

from bert_ko.tasks.squad.examples import Dataset, read_dataset
from bert_ko.tasks.squad.features import project
from bert_ko.tokenization.folder import load_tokenizer

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return read_dataset(str(REPOSITORY / "samples" / "korquad.json"))


def test_the_sample_has_no_problems(sample: Dataset) -> None:
    ids = [question.qas_id for _, question in sample.questions()]
    assert sample.problems == ()
    assert 35 <= len(ids) <= 50
    assert len(set(ids)) == len(ids)


def test_each_answer_is_in_its_context_once(sample: Dataset) -> None:
    for paragraph, question in sample.questions():
        (answer,) = question.answers
        assert paragraph.context.count(answer.text) == 1, question.qas_id


def test_each_answer_is_made_of_whole_pieces(sample: Dataset) -> None:
    tokenizer = load_tokenizer(str(REPOSITORY / "vocab" / "ko-mecab-32k"))
    cut = []
    for paragraph, question in sample.questions():
        encoding = tokenizer.encode(paragraph.context)
        starts, ends = np.array(encoding.starts, np.int32), np.array(encoding.ends, np.int32)
        (answer,) = question.answers
        span = project(answer, starts, ends)
        assert span is not None, question.qas_id
        if (starts[span[0]], ends[span[1]]) != (answer.start, answer.end):
            cut.append(answer.text)
    assert cut == []
