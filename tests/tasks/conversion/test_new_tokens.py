"""New tokens: which pieces, in which rows, and whether texts meet them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.modeling.bert import WORD_EMBEDDINGS, BertConfig
from bert_ko.modeling.heads import OUTPUT_BIAS
from bert_ko.tasks.conversion.conversion import Conversion
from bert_ko.tasks.conversion.new_tokens import Addition, add_tokens
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.folder import load_tokenizer, write_folder
from bert_ko.tokenization.user_dictionary import compile_user_dictionary
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS
from bert_ko.training.initialization import Source

LETTERS = "메타버스도서관gpu은는을를의에()[]제품마"
PIECES = (*SPECIAL_TOKENS, "[unused0]", "[unused1]", *LETTERS, *(f"##{x}" for x in LETTERS))
SIZE = len(PIECES)
WORDPIECE = {
    "tokenizer_type": "wordpiece", "subword_prefix_unit": "morpheme", "normalization": "google",
}  # fmt: skip
MORPHEME = {"subword_prefix_unit": "morpheme"}


@pytest.fixture
def add(tmp_path: Path) -> Any:
    """Adds tokens to a small model; its row i is [i, i]."""

    def add(
        *tokens: str, special: tuple[str, ...] = (), to_user_dictionary: bool = False,
        pieces: tuple[str, ...] = PIECES, dictionaries: tuple[str, ...] = (), **settings: Any,
    ) -> Addition:  # fmt: skip
        old, new = tmp_path / "old", tmp_path / "new"
        write_folder(str(old), list(pieces), TokenizerConfig(**settings), None, dictionaries)
        rows = np.arange(len(pieces), dtype=np.float32)
        arrays = {WORD_EMBEDDINGS: np.stack([rows, rows], axis=1), OUTPUT_BIAS: rows}
        config = BertConfig(vocab_size=len(pieces), hidden_size=2, num_attention_heads=1)
        source = Source("there", "test", arrays)
        before = Conversion(source, arrays, config, load_tokenizer(str(old)))
        return add_tokens(before, tokens, special, to_user_dictionary, str(new))

    return add


def pieces_of(addition: Addition) -> list[str]:
    return [
        addition.conversion.tokenizer.vocab.pieces[p.id] for p in addition.conversion.new_pieces
    ]


def test_add_tokens_unused_slots_come_first_then_the_model_grows(add: Any) -> None:
    found = add("도서관", special=("[제품]",))
    after = found.conversion
    assert after.tokenizer.vocab.pieces == (
        *SPECIAL_TOKENS, "도서관", "##도서관", *PIECES[7:], "[제품]",
    )  # fmt: skip
    assert after.config.vocab_size == SIZE + 1
    assert after.tokenizer.config.additional_special_tokens == ("[제품]",)
    old = [PIECES.index(piece) for piece in ("도", "##서", "##관")]
    assert after.arrays[OUTPUT_BIAS][5] == np.float32(np.mean(old))
    assert after.arrays[WORD_EMBEDDINGS].shape == (SIZE + 1, 2)
    assert found.lines == [
        "added 도서관 ##도서관 [제품]",
        "2 of them in [unusedN] slots, 1 behind the last piece",
        "a word is added bare, for the start of an eojeol, and with ##, for the inside, as after "
        "an opening bracket",
    ]
    assert found.warnings == []


def test_add_tokens_are_used_at_the_start_and_inside_an_eojeol(add: Any) -> None:
    tokenizer = add("도서관", special=("[제품]",)).conversion.tokenizer
    assert tokenizer.tokenize("도서관은 (도서관은)") == [
        "도서관", "##은", "(", "##도서관", "##은", "##)",
    ]  # fmt: skip
    assert tokenizer.tokenize("마[제품]을")[1:] == ["[제품]", "##을"]


@pytest.mark.parametrize("settings", [MORPHEME, WORDPIECE])
def test_add_tokens_looked_up_bare_alone_get_one_piece(settings: Any, add: Any) -> None:
    found = add("도서관", **settings)
    assert pieces_of(found) == ["도서관"]
    assert "##" not in "".join(found.lines)
    tokenizer = found.conversion.tokenizer
    assert tokenizer.tokenize("(도서관은)") == (
        ["(", "도서관", "은", ")"] if settings is MORPHEME else ["(", "도서관", "##은", ")"]
    )


def test_add_tokens_are_added_as_they_are_looked_up(add: Any) -> None:
    decomposed = "\u1103\u1169서관"
    found = add("GPU", decomposed, "##마을", special=("[MA]",))
    assert pieces_of(found) == ["gpu", "##gpu", "도서관", "##도서관", "##마을", "[MA]"]
    assert found.conversion.tokenizer.tokenize("GPU [MA] [ma]")[:2] == ["gpu", "[MA]"]
    cased = add("GPU", do_lower_case=False, pieces=(*PIECES, *"GPU", "##G", "##P", "##U"))
    assert pieces_of(cased) == ["GPU", "##GPU"]


def test_add_tokens_that_are_there_are_named_and_left(add: Any) -> None:
    found = add("도", "버스", special=("메",), pieces=(*PIECES, "버스"))
    assert pieces_of(found) == ["##버스"]
    assert found.lines[-1] == "already in the vocabulary: 도 ##도 버스 메"
    assert found.conversion.tokenizer.config.additional_special_tokens == ("메",)


def test_add_tokens_slot_that_is_a_special_token_is_not_taken(add: Any) -> None:
    found = add("도서관", additional_special_tokens=("[unused0]",))
    assert found.conversion.tokenizer.vocab.pieces[5:7] == ("[unused0]", "도서관")


def test_add_tokens_word_that_mecab_splits_is_a_warning_with_the_remedy(add: Any) -> None:
    found = add("메타버스", "도서관")
    assert found.warnings == [
        "메타버스 is one piece in 0 of 8 trial sentences: MeCab splits '메타버스' into 메타 + "
        "버스. --add_to_user_dictionary makes it one morpheme."
    ]
    found = add("메타-버스", **WORDPIECE)
    assert found.warnings == [
        "메타-버스 is one piece in 0 of 8 trial sentences: the tokenizer splits '메타-버스' into "
        "메타 + - + 버스."
    ]


def test_add_tokens_user_dictionary_makes_a_word_one_morpheme(add: Any) -> None:
    found = add("메타버스", "도서관", "GPU마", to_user_dictionary=True)
    assert found.warnings == []
    assert found.lines[-1] == "user dictionary added.dic: 메타버스 GPU마"
    after = found.conversion
    assert after.tokenizer.config.mecab_user_dictionary == ("added.dic",)
    assert (Path(after.tokenizer.source) / "added.dic").is_file()
    again = load_tokenizer(after.tokenizer.source)
    assert again.fingerprint == after.tokenizer.fingerprint
    assert again.tokenize("메타버스는 (메타버스)") == ["메타버스", "##는", "(", "##메타버스", "##)"]
    assert again.tokenize("GPU마 gpu마") == ["gpu마", "gpu마"]
    found = add("도서관", to_user_dictionary=True)
    assert found.conversion.tokenizer.config.mecab_user_dictionary == ()
    assert found.lines[-1] == ("MeCab keeps every new word whole; no user dictionary is needed")


@pytest.mark.slow
def test_add_tokens_older_dictionary_stays(add: Any, tmp_path: Path) -> None:
    path = tmp_path / "added.dic"
    compile_user_dictionary({"도서마": None}, str(path))
    found = add("메타버스", "도서마", to_user_dictionary=True, dictionaries=(str(path),))
    assert found.warnings == []
    assert found.lines[-1] == "user dictionary added-2.dic: 메타버스"
    names = ("added.dic", "added-2.dic")
    assert found.conversion.tokenizer.config.mecab_user_dictionary == names
    assert found.conversion.tokenizer.tokenize("도서마 메타버스") == ["도서마", "메타버스"]


@pytest.mark.parametrize(
    ("tokens", "special", "message"),
    [
        (["\u200b"], [], "--add_tokens: '\\u200b': cleaning leaves nothing of it; choose visible "
         "characters."),
        (["도 서"], [], "--add_tokens: '도 서': white space separates words, so a token can't "
         "contain any."),
        ([], ["[제\n품]"], "--add_special_tokens: '[제\\n품]': white space separates words, so a "
         "token can't contain any."),
        (["1,000"], [], "--add_tokens: '1,000': a token can't contain a comma or a quotation "
         "mark."),
        (["[MASK]"], [], "--add_tokens: '[MASK]': the name is reserved; choose another."),
        ([], ["[unused7]"],
         "--add_special_tokens: '[unused7]': the name is reserved; choose another."),
        (["##"], [], "--add_tokens: '##': ## marks pieces inside a word; choose other characters."),
        ([], ["##제"],
         "--add_special_tokens: '##제': ## marks pieces inside a word; choose other characters."),
        (["도" * 201], [], f"--add_tokens: '{'도' * 201}': it has 201 characters, more than the "
         "200 of a word."),
        (["GPU", "gpu"], [], "--add_tokens: 'gpu' is given twice."),
        (["도서", "##도서"], [], "--add_tokens: '##도서' is given twice."),
        ([], ["[제]", "[제]"], "--add_special_tokens: '[제]' is given twice."),
        (["[제]"], ["[제]"],
         "--add_special_tokens: '[제]' is given as --add_tokens too; choose one of them."),
    ],
)  # fmt: skip
def test_add_tokens_what_can_be_no_token_is_refused(
    tokens: list[str], special: list[str], message: str, add: Any
) -> None:
    with pytest.raises(ValueError) as error:
        add(*tokens, special=tuple(special))
    assert str(error.value) == message


def test_add_tokens_user_dictionary_or_twins_of_wordpiece_are_refused(add: Any) -> None:
    with pytest.raises(ValueError, match=r"^--add_special_tokens: '\[ma\]' is given twice\.$"):
        add(special=("[MA]", "[ma]"), **WORDPIECE)
    with pytest.raises(ValueError) as error:
        add("도서관", to_user_dictionary=True, **WORDPIECE)
    assert str(error.value) == (
        "--add_to_user_dictionary needs tokenizer_type=mecab, but the vocabulary has wordpiece."
    )


def test_add_tokens_sentencepiece_is_refused(sentencepiece_folder: str, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(sentencepiece_folder)
    source = Source("there", "test", {})
    before = Conversion(source, {}, BertConfig(vocab_size=9), tokenizer)
    with pytest.raises(ValueError) as error:
        add_tokens(before, ["도서관"], (), False, str(tmp_path))
    assert str(error.value) == (
        "--add_tokens, --add_special_tokens: the vocabulary is a SentencePiece model; tokens can "
        "only be added to WordPiece vocabularies."
    )
