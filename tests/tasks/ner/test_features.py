"""Tagged sentences to stretches of pieces, batches of them, and tags back to sentences."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.tasks.ner.bio import entities
from bert_ko.tasks.ner.examples import Sentence, plain_sentence
from bert_ko.tasks.ner.features import TagFeatures, Tagged, tag_features, tag_sentences
from bert_ko.tasks.sentences import NOWHERE
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary

LABELS = ("O", "B-LC", "I-LC", "B-PS", "I-PS")
# Ids from 5 on; every one of them is said to have a tag of its own.
PIECES = ("민수", "##가", "솔", "##내", "마을", "##에", "산다", "##람")
TAGS_OF = {"민수": "B-PS", "솔": "B-LC", "##내": "I-LC", "마을": "I-LC"}
BATCH = (0, 2, 3)  # ids of [PAD], [CLS] and [SEP]


@pytest.fixture(scope="module")
def tiny() -> Tokenizer:
    config = TokenizerConfig(tokenizer_type="wordpiece")
    return Tokenizer(Vocabulary([*SPECIAL_TOKENS, *PIECES]), config)


def characters(text: str, tags: str = "") -> Sentence:
    """Args: tags: a letter for each character: . is O, capitals begin an entity."""
    names = {".": "O", "P": "B-PS", "p": "I-PS", "L": "B-LC", "l": "I-LC"}
    starts, ends = tuple(range(len(text))), tuple(range(1, len(text) + 1))
    return Sentence("1", text, starts, ends, tuple(names[tag] for tag in tags))


def words(text: str, tags: str = "") -> Sentence:
    starts = [i for i, char in enumerate(text) if char != " " and text[i - 1 : i] in ("", " ")]
    ends = [start + len(text[start:].split(" ")[0]) for start in starts]
    return Sentence("1", text, tuple(starts), tuple(ends), tuple(tags.split()))


def answers(features: TagFeatures) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """What a model says that knows its pieces by heart: tags and probabilities."""
    tags = {5 + PIECES.index(piece): LABELS.index(tag) for piece, tag in TAGS_OF.items()}
    ids = features.stretches.input_ids.tolist()
    found = np.array([tags.get(i, 0) for i in ids], np.int32)
    return found, np.array([i / 100 for i in ids], np.float32)


def say(sentences: Sequence[Sentence], tokenizer: Tokenizer, length: int = 32) -> list[Tagged]:
    features = tag_features(sentences, tokenizer, length, ())
    return tag_sentences(features, *answers(features), LABELS)


MINSU = characters("민수가 솔내 마을에", "Pp..lllll.".replace("l", "L", 1))


def test_tag_features_of_a_sentence(tiny: Tokenizer) -> None:
    found = tag_features([MINSU], tiny, 32, LABELS)
    assert MINSU.tags == ("B-PS", "I-PS", "O", "O", *["B-LC"], *["I-LC"] * 4, "O")
    # [CLS] 민수 ##가 솔 ##내 마을 ##에 [SEP]
    assert found.stretches.input_ids.tolist() == [2, 5, 6, 7, 8, 9, 10, 3]
    assert found.tag_ids.tolist() == [0, 3, 0, 1, 2, 2, 0, 0]
    assert found.tag_ids.dtype == np.int32
    assert (found.lengths.tolist(), found.owners.tolist()) == ([8], [0])


def test_tag_features_of_words(tiny: Tokenizer) -> None:
    found = tag_features([words("민수가 솔내 마을에", "B-PS B-LC I-LC")], tiny, 32, LABELS)
    assert found.tag_ids.tolist() == [0, 3, 4, 1, 2, 2, 2, 0]


def test_tag_features_without_tags_or_labels_are_zero(tiny: Tokenizer) -> None:
    for sentence, labels in ((characters(MINSU.text), LABELS), (MINSU, ())):
        found = tag_features([sentence], tiny, 32, labels)
        assert found.tag_ids.tolist() == [0] * 8


def test_tag_features_sentences_beside_untagged_and_empty_ones_keep_their_tags(
    tiny: Tokenizer,
) -> None:
    sentences = [characters("솔내"), characters("", ""), MINSU, characters("\u200b", "P"), MINSU]
    found = tag_features(sentences, tiny, 32, LABELS)
    assert found.owners.tolist() == [0, 2, 4]  # those without pieces have no stretch
    wanted = [0, 3, 0, 1, 2, 2, 0, 0]
    assert found.tag_ids.tolist() == [0, 0, 0, 0, *wanted, *wanted]


def test_tag_features_long_sentence_is_cut_before_a_word(tiny: Tokenizer) -> None:
    found = tag_features([MINSU, characters("민수", "Pp")], tiny, 6, LABELS)
    # 민수 ##가 솔 ##내 | 마을 ##에 | 민수
    assert found.stretches.input_ids.tolist() == [2, 5, 6, 7, 8, 3, 2, 9, 10, 3, 2, 5, 3]
    assert found.tag_ids.tolist() == [0, 3, 0, 1, 2, 0, 0, 2, 0, 0, 0, 3, 0]
    assert found.owners.tolist() == [0, 0, 1]


def test_gather_pads_and_orders_rows(tiny: Tokenizer) -> None:
    features = tag_features([MINSU, characters("민수", "Pp")], tiny, 32, LABELS)
    batch = features.gather(np.array([1, 0, 1], np.int32), 9, BATCH)
    assert {name: value.tolist() for name, value in batch.items()} == {
        "input_ids": [
            [2, 5, 3, 0, 0, 0, 0, 0, 0], [2, 5, 6, 7, 8, 9, 10, 3, 0], [2, 5, 3, 0, 0, 0, 0, 0, 0]
        ],
        "input_mask": [[1] * 3 + [0] * 6, [1] * 8 + [0], [1] * 3 + [0] * 6],
        "segment_ids": [[0] * 9] * 3,
        "tag_ids": [
            [0, 3, 0, 0, 0, 0, 0, 0, 0], [0, 3, 0, 1, 2, 2, 0, 0, 0], [0, 3, 0, 0, 0, 0, 0, 0, 0]
        ],
    }  # fmt: skip
    assert {value.dtype for value in batch.values()} == {np.dtype(np.int32)}


def test_tag_sentences_join_tags_to_units(tiny: Tokenizer) -> None:
    (of_characters,) = say([MINSU], tiny)
    assert of_characters.tags == MINSU.tags
    (of_words,) = say([words("민수가 솔내 마을에")], tiny)
    assert of_words.tags == ("B-PS", "B-LC", "I-LC")


def test_tag_sentences_confidences_are_those_of_the_pieces_that_decide(tiny: Tokenizer) -> None:
    (of_characters,) = say([MINSU], tiny)
    # Of a blank nothing is said.
    assert of_characters.confidences.tolist() == pytest.approx(
        [0.05, 0.05, 0.06, 1, 0.07, 0.08, 1, 0.09, 0.09, 0.10]
    )
    assert of_characters.confidences.dtype == np.float32
    # A word has the tag of its first piece.
    (of_words,) = say([words("민수가 솔내 마을에")], tiny)
    assert of_words.confidences.tolist() == pytest.approx([0.05, 0.07, 0.09])


def test_tag_sentences_confidence_of_several_words_in_a_piece(tiny: Tokenizer) -> None:
    # [UNK]: what the tokenizer does not cut stands for all of its characters.
    (found,) = say([characters("꿿쀍 민수")], tiny)
    assert found.confidences.tolist() == pytest.approx([0.01, 0.01, 1, 0.05, 0.05])


def test_tag_sentences_without_pieces_are_outside_and_certain(tiny: Tokenizer) -> None:
    empty, blank, minsu = say([characters(""), characters("\u200b "), MINSU], tiny)
    assert (empty.tags, empty.confidences.tolist()) == ((), [])
    assert (blank.tags, blank.confidences.tolist()) == (("O", "O"), [1, 1])
    assert minsu.tags == MINSU.tags
    assert say([], tiny) == [] and say([characters("")], tiny)[0].tags == ()


@pytest.mark.parametrize("length", [3, 4, 5, 7, 32, 100, 2000])
def test_tag_sentences_thousand_characters_have_tags_however_they_are_cut(
    length: int, tiny: Tokenizer
) -> None:
    sentence = characters(" ".join(["민수가 솔내 마을에 산다"] * 72))
    assert len(sentence.text) > 1000
    features = tag_features([sentence], tiny, length, LABELS)
    assert features.lengths.max() <= length
    real = features.stretches.starts != NOWHERE
    assert real.sum() == 72 * 7  # no piece is left out, none comes twice
    (found,) = say([sentence], tiny, length)
    assert len(found.tags) == len(found.confidences) == len(sentence.text)
    assert found.tags == ("B-PS", "I-PS", "O", "O", "B-LC", *["I-LC"] * 4, *["O"] * 5) * 71 + (
        "B-PS", "I-PS", "O", "O", "B-LC", *["I-LC"] * 4, *["O"] * 4
    )  # fmt: skip
    assert [e.type for e in entities(found.tags)] == ["PS", "LC"] * 72


@pytest.mark.slow
@given(
    texts=st.lists(st.text("민수가 솔내마을에산다람\u200b꿿", max_size=40), max_size=4),
    length=st.integers(3, 24),
)
def test_tag_sentences_no_cut_changes_what_is_said(
    tiny: Tokenizer, texts: list[str], length: int
) -> None:
    sentences = [plain_sentence(text, number) for number, text in enumerate(texts)]
    for one, other in zip(say(sentences, tiny, length), say(sentences, tiny, 64), strict=True):
        assert one.tags == other.tags
        assert one.confidences.tolist() == other.confidences.tolist()
