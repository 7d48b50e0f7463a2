"""Tags of characters and words to tags of pieces, and back."""

import itertools
import random
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.tasks.ner.bio import Entity, entities, repair_bio
from bert_ko.tasks.ner.examples import Sentence, plain_sentence, read_dataset
from bert_ko.tasks.ner.features import piece_tags, unit_tags
from bert_ko.tasks.ner.scores import score
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary
from tests.small_data import from_entities

REPOSITORY = Path(__file__).parents[3]
LABELS = ("O", "B-LC", "I-LC", "B-PS", "I-PS")


def characters(text: str, *found: tuple[str, int, int]) -> Sentence:
    """Args: found: type, first character, and the one behind the last."""
    tags = from_entities([Entity(*entity) for entity in found], len(text))
    return replace(plain_sentence(text, 1), tags=tags)


def words(text: str, tags: str) -> Sentence:
    """Args: text: with one blank between words; tags: of the words."""
    spans = [match.span() for match in re.finditer("[^ ]+", text)]
    starts, ends = (tuple(column) for column in zip(*spans, strict=True))
    return Sentence("1", text, starts, ends, tuple(tags.split()))


Spans = Sequence[tuple[int, int]]


def columns(spans: Spans) -> tuple[np.ndarray, np.ndarray]:
    array = np.array(spans, np.int32).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def down(sentence: Sentence, spans: Spans) -> str:
    return " ".join(piece_tags(sentence, *columns(spans)))


def up(sentence: Sentence, spans: Spans, tags: str) -> str:
    return " ".join(unit_tags(sentence, *columns(spans), tags.split()))


# Pieces by hand


SPLIT = [(0, 2), (2, 3), (4, 6), (6, 7), (8, 10)]  # 민수 ##가 서울 ##에 갔다


def test_tags_pieces_of_several_characters_have_that_of_the_first() -> None:
    sentence = characters("민수가 서울에 갔다", ("PS", 0, 2), ("LC", 4, 6))
    assert down(sentence, SPLIT) == "B-PS O B-LC O O"
    assert up(sentence, SPLIT, "B-PS O B-LC O O") == "B-PS I-PS O O B-LC I-LC O O O O"
    assert unit_tags(sentence, *columns(SPLIT), piece_tags(sentence, *columns(SPLIT))) == (
        sentence.tags
    )


def test_tags_blank_inside_an_entity_belongs_to_it() -> None:
    sentence = characters("솔내 마을 장터", ("LC", 0, 5))
    spans = [(0, 2), (3, 5), (6, 8)]
    assert down(sentence, spans) == "B-LC I-LC O"
    assert up(sentence, spans, "B-LC I-LC O") == "B-LC I-LC I-LC I-LC I-LC O O O"
    # Between two entities, and beside one, it does not.
    assert up(sentence, spans, "B-LC B-LC O") == "B-LC I-LC O B-LC I-LC O O O"
    assert up(sentence, spans, "B-LC I-PS B-PS") == "B-LC I-LC O B-PS I-PS O B-PS I-PS"


def test_tags_several_blanks_inside_an_entity_all_belong_to_it() -> None:
    sentence = characters("솔 \t 내", ("LC", 0, 5))
    assert up(sentence, [(0, 1), (4, 5)], "B-LC I-LC") == "B-LC I-LC I-LC I-LC I-LC"
    assert up(sentence, [(0, 1), (4, 5)], "B-LC O") == "B-LC O O O O"
    assert up(sentence, [(4, 5)], "I-LC") == "O O O O B-LC"
    assert up(sentence, [(0, 1)], "B-LC") == "B-LC O O O O"


@pytest.mark.parametrize(
    ("entity", "found", "back"),
    [
        (("PS", 1, 3), "O B-PS", "O O B-PS"),  # begins inside the first piece
        (("PS", 0, 1), "B-PS O", "B-PS I-PS O"),  # ends inside of it
        (("PS", 1, 2), "O O", "O O O"),  # lies inside of it, behind its first character
        (("PS", 0, 3), "B-PS I-PS", "B-PS I-PS I-PS"),
    ],
)
def test_tags_entity_that_ends_inside_a_piece_is_as_near_as_pieces_allow(
    entity: tuple[str, int, int], found: str, back: str
) -> None:
    sentence = characters("이보람", entity)
    spans = [(0, 2), (2, 3)]
    assert down(sentence, spans) == found
    assert up(sentence, spans, found) == back


def test_tags_piece_over_two_entities_has_that_of_the_first() -> None:
    sentence = characters("솔내보람", ("LC", 0, 1), ("PS", 1, 4))
    assert down(sentence, [(0, 2), (2, 4)]) == "B-LC B-PS"
    assert up(sentence, [(0, 2), (2, 4)], "B-LC B-PS") == "B-LC I-LC B-PS I-PS"


def test_tags_word_of_several_pieces_begins_its_entity_once() -> None:
    sentence = words("이보람은 솔내 마을에 산다", "B-PER B-LOC I-LOC O")
    spans = [(0, 1), (1, 3), (3, 4), (5, 7), (8, 10), (10, 11), (12, 14)]
    assert down(sentence, spans) == "B-PER I-PER I-PER B-LOC I-LOC I-LOC O"
    assert up(sentence, spans, "B-PER O B-LOC B-LOC I-LOC O B-PER") == "B-PER B-LOC I-LOC B-PER"
    # What the first piece of a word says, counts.
    assert up(sentence, spans, "O B-PER I-PER O B-LOC I-LOC O") == "O O B-LOC O"


def test_tags_piece_over_several_words_tags_them_all() -> None:
    sentence = words("가 나 다", "B-PS I-PS B-LC")
    assert down(sentence, [(0, 3), (4, 5)]) == "B-PS B-LC"
    assert up(sentence, [(0, 3), (4, 5)], "B-PS B-LC") == "B-PS I-PS B-LC"
    # The second piece begins in a word that has its tag already.
    assert up(sentence, [(0, 3), (2, 5)], "B-PS B-LC") == "B-PS I-PS B-LC"


def test_tags_piece_of_no_character_breaks_no_entity() -> None:
    # SentencePiece has a blank of its own before what it does not know: no character is left to it.
    sentence = words("가 힣 다", "B-PS I-PS O")
    spans = [(0, 0), (0, 1), (1, 1), (2, 3), (3, 3), (4, 5)]
    assert down(sentence, spans) == "O B-PS I-PS I-PS O O"
    assert up(sentence, spans, "O B-PS I-PS I-PS O O") == "B-PS I-PS O"
    # Whatever is said of it, says nothing of a unit.
    assert up(sentence, spans, "B-LC B-PS O I-PS B-LC O") == "B-PS I-PS O"


def test_tags_sign_that_is_several_letters_breaks_no_entity() -> None:
    sentence = characters("㈜솔", ("OG", 0, 2))
    spans = [(0, 0), (0, 1), (1, 1), (1, 1), (1, 2)]  # ▁ ( 주 ) 솔
    assert down(sentence, spans) == "O B-OG I-OG I-OG I-OG"
    assert up(sentence, spans, "O B-OG I-OG I-OG I-OG") == "B-OG I-OG"
    assert down(characters("㈜솔", ("OG", 0, 1), ("OG", 1, 2)), spans) == "O B-OG O O B-OG"


def test_tags_text_without_pieces_is_outside() -> None:
    for text in ("", "\u200b", "  "):
        sentence = characters(text)
        assert piece_tags(sentence, *columns([])) == ()
        assert unit_tags(sentence, *columns([]), []) == ("O",) * len(text)
    assert up(characters("\u200b\u200b", ("PS", 0, 2)), [], "") == "O O"


def test_tags_of_a_first_character_without_a_piece_go_to_the_second() -> None:
    sentence = characters("\u200b보람", ("PS", 0, 3))
    assert down(sentence, [(1, 3)]) == "B-PS"
    assert up(sentence, [(1, 3)], "B-PS") == "O B-PS I-PS"


def test_tags_of_another_number_than_pieces_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        unit_tags(characters("가나"), *columns([(0, 1), (1, 2)]), ["O"])


def test_tags_many_units_without_pieces_take_no_time_to_speak_of() -> None:
    # Were each of them to look for the next piece, this would take hours.
    text = "가" + " " * 200_000 + "나"
    spans = [(0, 1), (len(text) - 1, len(text))]
    found = unit_tags(plain_sentence(text, 1), *columns(spans), ["B-PS", "I-PS"])
    assert found == ("B-PS", *["I-PS"] * 200_001)


# Pieces of tokenizers


def both_ways(tokenizer: Tokenizer, sentence: Sentence) -> tuple[str, str]:
    """Tags of the pieces; and those of units that come back of them."""
    encoding = tokenizer.encode(sentence.text)
    spans = list(zip(encoding.starts, encoding.ends, strict=True))
    tags = down(sentence, spans)
    return tags, up(sentence, spans, tags)


def made_of(*pieces: str, tokenizer_type: str = "wordpiece") -> Tokenizer:
    config = TokenizerConfig(tokenizer_type=tokenizer_type)  # type: ignore[arg-type]
    return Tokenizer(Vocabulary([*SPECIAL_TOKENS, *pieces]), config)


def test_tags_unknown_word_is_one_piece() -> None:
    sentence = characters("꿿쀍은 왕", ("PS", 0, 2))
    # [UNK] 왕: the josa is a part of the word that nobody knows.
    assert both_ways(made_of("왕"), sentence) == ("B-PS O", "B-PS I-PS I-PS O O")


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("ｱﾊﾟｰﾄ 단지", ("LC", 0, 5)),  # half-width forms, a mark of their own
        ("ㄱㅣㅁ씨", ("PS", 0, 3)),  # compatibility jamo
        ("5㎏ 감자", ("QT", 0, 2)),
        ("Ａ급 감자", ("QT", 0, 2)),  # full width
        (unicodedata.normalize("NFD", "솔내 마을"), ("LC", 0, 11)),
        ("보\u200b람 씨", ("PS", 0, 3)),  # zero-width space
        ("보람\u200b 씨", ("PS", 0, 2)),
        ("솔내\u00a0마을", ("LC", 0, 5)),
        ("솔내\u3000마을 😀", ("LC", 0, 5)),
        ("😀 𠮷野 씨", ("PS", 2, 4)),  # beyond the BMP
        ("이 보람 씨", ("PS", 0, 4)),
        ("\ufeff보람", ("PS", 1, 3)),
    ],
)
def test_tags_any_form_of_a_character_comes_back(
    text: str, entity: tuple[str, int, int], vocab_folder: str, cased_sentencepiece_folder: str
) -> None:
    sentence = characters(text, entity)
    for tokenizer in (load_tokenizer(vocab_folder), load_tokenizer(cased_sentencepiece_folder)):
        tags, back = both_ways(tokenizer, sentence)
        assert entities(tags.split())[0].type == entity[0]
        assert [e for e in entities(back.split()) if e[0] == entity[0]] == [Entity(*entity)]


def test_tags_nfd_jamo_are_units_of_one_piece(vocab_folder: str) -> None:
    # An entity that ends inside of a syllable has it all.
    text = unicodedata.normalize("NFD", "솔내")
    sentence = characters(text, ("LC", 0, 2))
    tags, back = both_ways(load_tokenizer(vocab_folder), sentence)
    assert len(text) == 5 and tags.split()[0] == "B-LC"
    assert back.split()[:3] == ["B-LC", "I-LC", "I-LC"]


def test_tags_of_the_sentencepiece_blank_do_not_break_words(
    cased_sentencepiece_folder: str,
) -> None:
    # 쀍 is unknown, so that its blank is a piece by itself.
    tokenizer = load_tokenizer(cased_sentencepiece_folder)
    sentence = words("마을 쀍쀍 사람", "B-LC I-LC O")
    encoding = tokenizer.encode(sentence.text)
    assert any(a == b for a, b in zip(encoding.starts, encoding.ends, strict=True))
    tags, back = both_ways(tokenizer, sentence)
    assert tags.split().count("B-LC") == 1 and back == "B-LC I-LC O"


# Properties


TEXTS = st.text(
    st.sampled_from("가나다 a1ㄱ㎏ﾊﾟ\u200b\u1112\u1161\u11ab\u3000A😀𠮷\t") | st.characters(),
    max_size=20,
)


def random_tags(length: int, draw: random.Random) -> tuple[str, ...]:
    return repair_bio([draw.choice(LABELS) for _ in range(length)])


@st.composite
def tagged(draw: st.DrawFn, is_word: bool) -> Sentence:
    """A text with tags of its characters, or of what stands between blanks."""
    text = draw(TEXTS)
    found = re.finditer("[^ ]+" if is_word else "(?s:.)", text)
    spans = [match.span() for match in found]
    starts, ends = tuple(a for a, _ in spans), tuple(b for _, b in spans)
    tags = random_tags(len(spans), draw(st.randoms(use_true_random=False)))
    return Sentence("1", text, starts, ends, tags)


@st.composite
def spans_of(draw: st.DrawFn, length: int) -> Spans:
    """Pieces with gaps between them, and some without a character."""
    cuts = sorted(draw(st.lists(st.integers(0, length), max_size=12)))
    return list(zip(cuts[::2], cuts[1::2], strict=False))


@pytest.mark.slow
@given(st.booleans().flatmap(lambda is_word: tagged(is_word)), st.data())
def test_tags_are_always_well_formed(sentence: Sentence, data: st.DataObject) -> None:
    spans = data.draw(spans_of(len(sentence.text)))
    of_pieces = piece_tags(sentence, *columns(spans))
    assert len(of_pieces) == len(spans) and repair_bio(of_pieces) == of_pieces
    anything = data.draw(
        st.lists(st.sampled_from(LABELS), min_size=len(spans), max_size=len(spans))
    )
    of_units = unit_tags(sentence, *columns(spans), anything)
    assert len(of_units) == len(sentence.starts) and repair_bio(of_units) == of_units


@pytest.mark.slow
@given(st.booleans().flatmap(lambda is_word: tagged(is_word)), st.data())
def test_tags_come_back_where_every_unit_has_pieces_of_its_own(
    sentence: Sentence, data: st.DataObject
) -> None:
    spans: list[tuple[int, int]] = []
    for start, end in zip(sentence.starts, sentence.ends, strict=True):
        inner = data.draw(st.lists(st.integers(start, end), max_size=3))
        cuts = [start, *sorted(inner), end]
        spans += itertools.pairwise(cuts)
    tags = piece_tags(sentence, *columns(spans))
    assert unit_tags(sentence, *columns(spans), tags) == sentence.tags
    # Each entity is one entity of pieces.
    assert len(entities(tags)) == len(entities(sentence.tags))


@given(st.booleans().flatmap(lambda is_word: tagged(is_word)), st.data())
def test_tags_come_back_where_every_piece_has_units_of_one_entity(
    sentence: Sentence, data: st.DataObject
) -> None:
    """Pieces are unions of units within an entity, or within what is none."""
    groups: list[list[int]] = []
    for unit, tag in enumerate(sentence.tags):
        is_same = unit and (tag.startswith("I") or (tag == "O" == sentence.tags[unit - 1]))
        if is_same and data.draw(st.booleans()):
            groups[-1].append(unit)
        else:
            groups.append([unit])
    spans = [(sentence.starts[group[0]], sentence.ends[group[-1]]) for group in groups]
    tags = piece_tags(sentence, *columns(spans))
    assert unit_tags(sentence, *columns(spans), tags) == sentence.tags


@given(tagged(is_word=False))
def test_tags_come_back_from_a_tokenizer_that_cuts_between_entities(
    tokenizer: Tokenizer, sentence: Sentence
) -> None:
    encoding = tokenizer.encode(sentence.text)
    spans = list(zip(encoding.starts, encoding.ends, strict=True))
    found = unit_tags(sentence, *columns(spans), piece_tags(sentence, *columns(spans)))
    assert repair_bio(found) == found
    for start, end in spans:
        if len({tag[2:] for tag in sentence.tags[start:end]}) == 1:
            kinds = {tag[2:] for tag in found[start:end]}
            assert kinds == {sentence.tags[start][2:]}


# Real sentences


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "least_f1", "least_characters"), [("klue-ner", 98.5, 99.7), ("naver-ner", 100, 100)]
)
def test_tags_of_real_sentences_come_back_through_pieces(
    folder: str, least_f1: float, least_characters: float, data_folder: Path
) -> None:
    path = data_folder / folder / "dev.tsv"
    if not path.is_file():
        pytest.skip(f"no real data: {path}")
    dataset = read_dataset(str(path))
    tokenizer = load_tokenizer(str(REPOSITORY / "vocab" / "ko-mecab-32k"))
    golds = [sentence.tags for sentence in dataset.sentences]
    found = [tuple(both_ways(tokenizer, sentence)[1].split()) for sentence in dataset.sentences]
    scores = score(golds, found, dataset.labels)
    assert scores.num_sentences >= 800
    assert scores.f1 >= least_f1 and scores.klue_char_macro_f1 >= least_characters
