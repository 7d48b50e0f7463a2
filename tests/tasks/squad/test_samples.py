from pathlib import Path

import pytest

from bert_ko.tasks.squad.examples import Dataset
from bert_ko.tasks.squad.features import WindowConfig, build_features, gold_spans
from bert_ko.tasks.squad.question_files import read_dataset
from bert_ko.tokenization.folder import load_tokenizer

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return read_dataset(str(REPOSITORY / "samples" / "korquad.json"))


def test_the_sample_has_no_problems_and_each_answer_once(sample: Dataset) -> None:
    ids = [question.qas_id for _, question in sample.questions()]
    assert sample.problems == ()
    assert 35 <= len(ids) == len(set(ids)) <= 50
    for paragraph, question in sample.questions():
        (answer,) = question.answers
        assert paragraph.context.count(answer.text) == 1, question.qas_id


def test_each_answer_is_made_of_whole_pieces(sample: Dataset) -> None:
    tokenizer = load_tokenizer(str(REPOSITORY / "vocab" / "ko-mecab-32k"))
    spans = gold_spans(sample, build_features(sample, tokenizer, WindowConfig()))
    cut = [
        question.qas_id
        for _, question in sample.questions()
        if spans[question.qas_id].text != question.answers[0].text
    ]
    assert cut == []
