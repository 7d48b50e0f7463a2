"""What a tagger predicts, as values and as lines."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bert_ko.tasks.batches import BatchPlan
from bert_ko.tasks.ner.examples import Sentence, plain_sentence
from bert_ko.tasks.ner.features import Tagged
from bert_ko.tasks.ner.tagger import TaggedEntity, Tagger, record, tagged_lines
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary

LABELS = ("O", "B-LC", "I-LC", "B-PS", "I-PS")
MINSU = replace(plain_sentence("민수는 솔 내에", 7), sentence_id="a-7")
SAID = Tagged(
    ("B-PS", "I-PS", "O", "O", "B-LC", "I-LC", "I-LC", "O"),
    np.array([0.9, 0.8, 0.1, 1, 0.7, 1, 0.95, 0.2], np.float32),
)
PERSON = {"type": "PS", "text": "민수", "start": 0, "end": 2}
PLACE = {"type": "LC", "text": "솔 내", "start": 4, "end": 7}


def test_record_has_entities_with_characters_and_the_least_probability() -> None:
    assert record(MINSU, SAID) == {
        "id": "a-7",
        "text": "민수는 솔 내에",
        "tagged": "<민수:PS>는 <솔 내:LC>에",
        "entities": [{**PERSON, "probability": 0.8}, {**PLACE, "probability": 0.7}],
        "tags": ["B-PS", "I-PS", "O", "O", "B-LC", "I-LC", "I-LC", "O"],
    }


def test_record_of_a_tagged_sentence_has_gold_entities() -> None:
    gold = replace(MINSU, tags=("B-PS", "I-PS", *["O"] * 6))
    assert record(gold, SAID)["gold"] == [PERSON]
    assert record(replace(MINSU, tags=("O",) * 8), SAID)["gold"] == []
    assert "gold" not in record(MINSU, SAID)


def test_record_of_words_has_whole_words() -> None:
    sentence = Sentence("3", "솔 내에 민수는", (0, 2, 5), (1, 4, 8), ())
    said = Tagged(("B-LC", "I-LC", "O"), np.array([0.5, 0.25, 0.125], np.float32))
    found = record(sentence, said)
    assert found["tagged"] == "<솔 내에:LC> 민수는"
    assert found["entities"] == [
        {"type": "LC", "text": "솔 내에", "start": 0, "end": 4, "probability": 0.25}
    ]


def test_record_of_nothing() -> None:
    found = record(plain_sentence("", 1), Tagged((), np.zeros(0, np.float32)))
    assert found == {"id": "1", "text": "", "tagged": "", "entities": [], "tags": []}


def test_tagged_lines_are_one_for_each_record() -> None:
    # KLUE's characters may be anything: a line of the file remains one line.
    broken = plain_sentence("가\n나\r\u2028", 2)
    nothing = Tagged(("O",) * 5, np.ones(5, np.float32))
    records = [record(MINSU, SAID), record(broken, nothing)]
    assert tagged_lines(records) == "a-7\t<민수:PS>는 <솔 내:LC>에\n2\t가 나 \u2028\n"


PIECES = [*SPECIAL_TOKENS, "가", "나", "다", "##나", "##다"]
TOKENIZER = Tokenizer(Vocabulary(PIECES), TokenizerConfig(tokenizer_type="wordpiece"))
TAG_IDS = {5: 1, 6: 0, 7: 3, 8: 2, 9: 4}  # 가 LC, 나 O, 다 PS


def make_tagger(batch_size: int, max_seq_length: int) -> Tagger:
    """Gives each piece the tag of its id, and an eighth of the id as probability."""

    def predict(batch: Any) -> Any:
        assert batch["input_ids"].shape[0] == batch_size
        ids = batch["input_ids"][:, 1:-1]  # [B, L - 2]
        found = np.vectorize(lambda i: TAG_IDS.get(i, 1))(ids).astype(np.int32)
        return {"tag_ids": found, "probabilities": (ids / 8).astype(np.float32)}

    plan = BatchPlan(batch_size, TOKENIZER.vocab.special_ids, (8, 16))
    return Tagger(TOKENIZER, LABELS, max_seq_length, plan, predict)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("max_seq_length", [3, 4, 16])
def test_compute_gives_each_piece_its_own_answer(batch_size: int, max_seq_length: int) -> None:
    texts = ["가 나 다 가 나", "", "다", "가나 다", "나 가다 가", "다 다"]
    sentences = [plain_sentence(text, number) for number, text in enumerate(texts)]
    tagger = make_tagger(batch_size, max_seq_length)
    found = tagger.compute(tagger.cut(sentences))
    assert [" ".join(tagged.tags) for tagged in found] == [
        "B-LC O O O B-PS O B-LC O O", "", "B-PS", "B-LC I-LC O B-PS", "O O B-LC B-PS O B-LC",
        "B-PS O B-PS",
    ]  # fmt: skip
    assert found[3].confidences.tolist() == [0.625, 1, 1, 0.875]
    with pytest.raises(ValueError, match="zip"):
        tagger.records(sentences[:-1], found)


@pytest.mark.parametrize("batch_size", [1, 2, 9])
def test_tag_a_list_is_tagged_as_each_text_is(batch_size: int) -> None:
    tagger = make_tagger(batch_size, 16)
    texts = [" 가나\n다", "", "나", "나 " * 40 + "다"]
    found = tagger.tag(texts)
    assert found == [tagger.tag(text) for text in texts]
    assert found[0] == [
        TaggedEntity("LC", "가나", 1, 3, 0.625),
        TaggedEntity("PS", "다", 4, 5, 0.875),
    ]
    assert found[1:3] == [[], []]
    assert [(entity.text, entity.start, entity.end) for entity in found[3]] == [("다", 80, 81)]
    assert tagger.tag([]) == []
