"""Published tokenizers: ids are those of transformers' AutoTokenizer, or the folder is refused."""

import itertools
import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from bert_ko.tokenization.encoder import ID_MASK, LineEncoder
from bert_ko.tokenization.folder import load_tokenizer, write_folder
from bert_ko.tokenization.hugging_face import write_hugging_face_tokenizer
from bert_ko.tokenization.settings import TokenizerFlags
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS

TEXTS = [
    "도서관에서 책을 빌렸습니다.",
    "값은 1,000원(3.5%)이다!! “정말?” 『글』·《책》…",
    "ΑΣ CAFÉ Ångström İstanbul Straße GPU ﬁ ½",
    "≮ \u037e \u0387 \u1fef 가!\u0301 \u0301 b",
    "大韓民國은 金大中 ひらがな ﾊﾝｶｸ",
    "\ue000사\u200b설\xad영역\x00\ufffd \u3164 \uffa0 a\x85b\x0bc\u2028d",
    unicodedata.normalize("NFD", "각 도서관의 café"),
    "가" * 101 + " " + "나" * 100,
    "[E1]은 [e1] 책[NEW]을 코로나19는<e2>x [E1][E1]",
    "##은 ##", "ㅋㅋㅋ ①②③ 😀👩‍👩‍👧", "", "   ",
]  # fmt: skip
CLASS = {"tokenizer_class": "BertTokenizer"}


def vocabulary(texts: list[str]) -> list[str]:
    """Characters at the start and inside, and beginnings of words, in all the forms of texts."""
    forms = {form for text in texts for form in (text, text.lower(), stripped(text))}
    characters = sorted({c for form in forms for c in form if c.isprintable() and not c.isspace()})
    words = sorted({word for form in forms for word in form.split() if word.isprintable()})
    starts = [word[: 2 + i % 3] for i, word in enumerate(words)]
    known = [char for i, char in enumerate(characters) if i % 40] + starts[::2]
    pieces = [*SPECIAL_TOKENS, "[E1]", "<e2>", *known, *(f"##{piece}" for piece in known)]
    return list(dict.fromkeys(pieces))


def stripped(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text.lower())
    return "".join(char for char in decomposed if unicodedata.category(char) != "Mn")


PIECES = vocabulary(TEXTS)


def make(
    folder: Path,
    values: dict[str, Any] | None,
    *,
    pieces: list[str] | None = PIECES,
    model: dict[str, Any] | None = {"model_type": "bert"},  # noqa: B006
    **others: Any,
) -> str:
    """Writes a folder; others: contents of further JSON files by their names."""
    folder.mkdir(exist_ok=True)
    if pieces is not None:
        (folder / "vocab.txt").write_text("".join(f"{p}\n" for p in pieces), encoding="utf-8")
    contents = {"tokenizer_config": values, "config": model, **others}
    for name, content in contents.items():
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return str(folder)


def token(content: str, **values: bool) -> dict[str, Any]:
    flags = ("single_word", "lstrip", "rstrip", "normalized")
    return {"content": content, **dict.fromkeys(flags, False), "special": True, **values}


SPECIAL = {role: f"[{role[:-6].upper()}]" for role in ("unk_token", "sep_token", "cls_token")}


def forms(size: int) -> dict[str, dict[str, Any]]:
    """Arguments of make by the name of a published form, for a vocabulary of a size."""
    return {
        "mBERT cased": {"values": {"do_lower_case": False, "model_max_length": 512}},
        "mBERT uncased": {"values": {"do_lower_case": True}},
        "class alone": {"values": None, "model": {"model_type": "bert", **CLASS}},
        "KLUE RoBERTa": {
            "values": {**CLASS, **SPECIAL, "do_lower_case": False, "do_basic_tokenize": True,
                       "never_split": None, "bos_token": "[CLS]", "eos_token": "[SEP]",
                       "strip_accents": None},
            "model": {"model_type": "roberta", **CLASS},
            "special_tokens_map": {**SPECIAL, "bos_token": "[CLS]", "eos_token": "[SEP]"},
        },
        "KoELECTRA": {"values": {"do_lower_case": False}, "model": {"model_type": "electra"}},
        "Electra": {"values": {"tokenizer_class": "ElectraTokenizer", "do_lower_case": False}},
        "DistilBERT": {
            "values": {"tokenizer_class": "DistilBertTokenizer", "do_lower_case": False}
        },
        "accents kept": {"values": {**CLASS, "do_lower_case": True, "strip_accents": False}},
        "accents stripped": {
            "values": {**CLASS, "do_lower_case": False, "strip_accents": True}
        },
        "no Chinese": {
            "values": {**CLASS, "do_lower_case": False, "tokenize_chinese_chars": False}
        },
        "added": {
            "values": {**CLASS, "do_lower_case": False, "additional_special_tokens": ["[E1]"]},
            "added_tokens": {"[NEW]": size, "코로나19": size + 1},
        },
        "added, uncased": {
            "values": {**CLASS, "additional_special_tokens": ["<e2>", "[E1]"],
                       "added_tokens_decoder": {str(size): token("[NEW]")}},
        },
    }  # fmt: skip


FORMS = forms(len(PIECES))


def assert_equal(folder: str, texts: list[str]) -> Tokenizer:
    """Ours and transformers' ids of texts are equal, alone and in a corpus."""
    from transformers import AutoTokenizer

    theirs, ours = AutoTokenizer.from_pretrained(folder), load_tokenizer(folder)
    expected = theirs(texts, add_special_tokens=False)["input_ids"]
    encodings = ours.encode(texts)
    assert [encoding.ids for encoding in encodings] == expected
    lines = [ours.clean_lines(text)[0] for text in texts]
    found = LineEncoder(ours).encode(lines).pieces & ID_MASK
    assert found.tolist() == list(itertools.chain.from_iterable(expected))
    for text, encoding in zip(texts, encodings, strict=True):
        bounds = [*itertools.chain(*zip(encoding.starts, encoding.ends, strict=True)), len(text)]
        assert bounds == sorted(bounds)
    return ours


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_published_form_has_the_ids_of_transformers_also_saved_again_and_exported(
    form: str, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    folder = make(tmp_path / "model", **FORMS[form])
    ours = assert_equal(folder, TEXTS)
    # transformers 5 saves tokenizer.json and no vocab.txt.
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    shutil.copy(tmp_path / "model" / "config.json", tmp_path / "saved")
    assert not (tmp_path / "saved" / "vocab.txt").exists()
    assert assert_equal(str(tmp_path / "saved"), TEXTS).fingerprint == ours.fingerprint
    # What copies a vocabulary writes ours; from there it goes back to transformers.
    write_folder(str(tmp_path / "copy"), list(ours.vocab.pieces), ours.config)
    copy = load_tokenizer(str(tmp_path / "copy"))
    assert copy.fingerprint == ours.fingerprint
    write_hugging_face_tokenizer(str(tmp_path / "theirs"), copy)
    assert assert_equal(str(tmp_path / "theirs"), TEXTS).fingerprint == ours.fingerprint


@pytest.fixture(scope="module")
def real_pieces(real_lines: list[str]) -> list[str]:
    return vocabulary(real_lines[::5])


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", ["mBERT cased", "mBERT uncased", "KLUE RoBERTa", "KoELECTRA", "added, uncased"]
)
def test_published_form_on_real_lines_has_the_ids_of_transformers(
    form: str, real_lines: list[str], real_pieces: list[str], tmp_path: Path
) -> None:
    lines = real_lines[::5]
    folder = make(tmp_path / "model", pieces=real_pieces, **forms(len(real_pieces))[form])
    ours = assert_equal(folder, lines)
    assert len(lines) == 2_000
    ids = list(itertools.chain.from_iterable(e.ids for e in ours.encode(lines)))
    assert ids.count(ours.vocab.unk_id) < len(ids) / 10


def whole(**changes: Any) -> dict[str, Any]:
    """A tokenizer.json; changes: of its parts, dotted names joined by two underscores."""
    names = ["책", "##을", "Ab", "ab", "大"]
    value: dict[str, Any] = {
        "added_tokens": [{"id": i, **token(t)} for i, t in enumerate(SPECIAL_TOKENS)],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": False},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100,
                  "vocab": {piece: i for i, piece in enumerate([*SPECIAL_TOKENS, *names])}},
    }  # fmt: skip
    for name, change in changes.items():
        place, _, last = name.rpartition("__")
        part = value[place] if place else value
        part[last] = change
    return value


ANY = {"tokenizer_class": "PreTrainedTokenizerFast"}


@pytest.mark.parametrize("values", [None, ANY, {**CLASS, "do_lower_case": False}])
def test_tokenizer_json_alone_is_read_by_folder_and_by_file(
    values: dict[str, Any] | None, tmp_path: Path
) -> None:
    model = None if values is None else {"model_type": "bert"}
    folder = make(tmp_path, values, pieces=None, model=model, tokenizer=whole())
    for name in (folder, f"{folder}/tokenizer.json"):
        assert load_tokenizer(name).tokenize("책을 Ab大") == ["책", "##을", "Ab", "大"]


def test_tokenizer_json_of_the_general_class_equals_transformers(tmp_path: Path) -> None:
    lowered = whole(normalizer__lowercase=True, normalizer__strip_accents=False)
    folder = make(tmp_path, ANY, pieces=None, tokenizer=lowered)
    texts = ["책을 AB 大책", "ÀB ab"]
    assert_equal(folder, texts)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model__type": "BPE"}, "model.type 'BPE'"),
        ({"model": {"type": "Unigram", "vocab": []}}, "model.type 'Unigram'"),
        ({"model__continuing_subword_prefix": "@@"}, "model.continuing_subword_prefix '@@'"),
        ({"model__max_input_chars_per_word": 50}, "model.max_input_chars_per_word 50"),
        ({"model__unk_token": "<unk>"}, "model.unk_token '<unk>'"),
        ({"normalizer": None}, "normalizer.type None"),
        ({"normalizer": {"type": "Sequence", "normalizers": []}}, "normalizer.type 'Sequence'"),
        ({"normalizer__clean_text": False}, "normalizer.clean_text False"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "pre_tokenizer.type 'Whitespace'"),
        ({"post_processor": None}, "post_processor.type None"),
        ({"post_processor__cls": ["<s>", 0]}, "post_processor.cls '<s>'"),
        (
            {"post_processor": {"type": "TemplateProcessing", "single": 5}},
            "post_processor.single 5",
        ),
        ({"post_processor": {"type": "TemplateProcessing", "single": [{}]}}, "processor.single"),
        ({"added_tokens": {"[X]": 5}}, "added_tokens must be a list, got an object"),
        ({"added_tokens": [{"id": 1e400, **token("Ab")}]}, "must have ids, got inf"),
        ({"added_tokens": [{"id": 7, **token("\ud800")}]}, "must have tokens"),
        ({"model__vocab": {"\ud800": 0}}, "model.vocab must be an object"),
        ({"model__vocab": ["책"]}, "model.vocab must be an object"),
        ({"model__vocab": {"책": 5}}, "the ids of model.vocab are not 0 to 0"),
        ({"normalizer": []}, "normalizer must be an object, got list"),
        ({"added_tokens": [{"id": 99, **token("[X]")}]}, r"'\[X\]' is not in the vocabulary"),
        ({"added_tokens": [{"id": 5, **token("Ab")}]}, "'Ab' has the id 5, but 7"),
        ({"added_tokens": [{"id": 7, **token("Ab", lstrip=True)}]}, "'Ab' has lstrip"),
        ({"added_tokens": [{"id": 7, **token("Ab", single_word=True)}]}, "'Ab' has single_word"),
        ({"added_tokens": [{"id": 9, **token("大", normalized=True)}]}, "'大' is normalized"),
    ],
)
def test_tokenizer_json_part_that_is_not_read_is_named(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    folder = make(tmp_path, ANY, pieces=None, tokenizer=whole(**changes))
    with pytest.raises(ValueError, match=words) as error:
        load_tokenizer(folder)
    assert str(tmp_path / "tokenizer.json") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tokenizer_class": "BertJapaneseTokenizer"}, "names BertJapaneseTokenizer"),
        ({"tokenizer_class": "RobertaTokenizer"}, "names RobertaTokenizer"),
        ({"tokenizer_class": ["BertTokenizer"]}, r"names \['BertTokenizer'\]"),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, "names PreTrainedTokenizerFast"),
        ({**CLASS, "auto_map": {"AutoTokenizer": ["a.B", None]}}, r"code of its own \(auto_map"),
        ({**CLASS, "auto_map": ["a.B", None]}, "code of its own"),
        ({**CLASS, "do_basic_tokenize": False}, "has do_basic_tokenize False"),
        ({**CLASS, "never_split": ["책"]}, r"has never_split \['책'\]"),
        ({**CLASS, "wordpieces_prefix": "@@"}, "has wordpieces_prefix '@@'"),
        ({**CLASS, "unk_token": "<unk>"}, "unk_token is '<unk>'"),
        ({**CLASS, "mask_token": token("<mask>")}, "mask_token is '<mask>'"),
        ({**CLASS, "do_lower_case": "no"}, "do_lower_case must be true or false"),
        ({**CLASS, "additional_special_tokens": ["[Z]"]}, r"'\[Z\]' is not in the vocabulary"),
        ({**CLASS, "additional_special_tokens": [5]}, "must have tokens, got 5"),
        ({**CLASS, "bos_token": "<s>"}, "bos_token: '<s>' is not in the vocabulary"),
        ({**CLASS, "added_tokens_decoder": {"7": token("[E1]")}}, "has the id 7, but 5"),
        ({**CLASS, "added_tokens_decoder": []}, "must be an object, got a list"),
        ({**CLASS, "added_tokens_decoder": {"x": token("[E1]")}}, "must have ids, got 'x'"),
        ({"model_max_length": 512}, None),
    ],
)
def test_tokenizer_config_that_is_not_read_is_named(
    values: dict[str, Any], words: str | None, tmp_path: Path
) -> None:
    folder = make(tmp_path, values, model=None)
    with pytest.raises(ValueError, match=words or "names no tokenizer class") as error:
        load_tokenizer(folder)
    assert str(tmp_path / "tokenizer_config.json") in str(error.value)
    assert "\n" not in str(error.value)


def test_class_that_is_not_read_may_be_overridden_by_the_type(tmp_path: Path) -> None:
    folder = make(tmp_path, {"tokenizer_class": "BertJapaneseTokenizer"})
    with pytest.raises(ValueError, match="give --tokenizer_type to read"):
        load_tokenizer(folder)
    flags = TokenizerFlags(vocab_file=folder, tokenizer_type="wordpiece", do_lower_case=False)
    assert load_tokenizer(folder, flags).config.normalization == "google"
    with pytest.raises(ValueError, match="does not say how"):
        load_tokenizer(make(tmp_path / "bare", None))


def test_files_that_contradict_each_other_raise(tmp_path: Path) -> None:
    folder = make(tmp_path, {**CLASS, "do_lower_case": True}, pieces=None, tokenizer=whole())
    with pytest.raises(ValueError, match=r"has do_lower_case False, but .* True"):
        load_tokenizer(folder)
    make(tmp_path, {**ANY, "tokenize_chinese_chars": False}, pieces=None, tokenizer=whole())
    with pytest.raises(ValueError, match=r"has tokenize_chinese_chars True, but .* False"):
        load_tokenizer(folder)
    make(tmp_path, ANY, pieces=[*SPECIAL_TOKENS, "책"], tokenizer=whole())
    with pytest.raises(ValueError, match="have different pieces"):
        load_tokenizer(folder)


def test_added_tokens_that_transformers_leaves_out_raise(tmp_path: Path) -> None:
    values = {**CLASS, "do_lower_case": False, "added_tokens_decoder": {"5": token("[E1]")}}
    more = {"[NEW]": len(PIECES)}
    message = r"added_tokens\.json: '\[NEW\]' is not in the added_tokens_decoder"
    with pytest.raises(ValueError, match=message):
        load_tokenizer(make(tmp_path / "a", values, added_tokens=more))
    listed = {"additional_special_tokens": [token("<e2>")]}
    with pytest.raises(ValueError, match=r"special_tokens_map\.json: .*'<e2>' is not in the added"):
        load_tokenizer(make(tmp_path / "b", values, special_tokens_map=listed))
    values = {**CLASS, "additional_special_tokens": ["[E1]"]}
    with pytest.raises(ValueError, match="have different additional_special_tokens"):
        load_tokenizer(make(tmp_path / "c", values, special_tokens_map=listed))


@pytest.mark.parametrize("name", ["tokenizer_config", "tokenizer", "added_tokens", "config"])
def test_json_that_is_nested_deeply_is_named(name: str, tmp_path: Path) -> None:
    folder = make(tmp_path, CLASS)
    (tmp_path / f"{name}.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(ValueError, match=rf"{name}\.json: .*nested too deeply"):
        load_tokenizer(folder)


@pytest.mark.parametrize("name", ["spiece.model", "tokenizer_78b3253a26.model"])
def test_sentencepiece_model_by_other_names(
    name: str, sentencepiece_folder: str, tmp_path: Path
) -> None:
    shutil.copy(Path(sentencepiece_folder, "spm.model"), tmp_path / name)
    expected = load_tokenizer(sentencepiece_folder).tokenize("마을 도서관에서")
    assert load_tokenizer(str(tmp_path)).tokenize("마을 도서관에서") == expected
    folder = make(tmp_path, {"tokenizer_class": "XLNetTokenizer", "do_lower_case": False})
    message = rf"names XLNetTokenizer, .* or --vocab_file={tmp_path / name} for its SentencePiece"
    with pytest.raises(ValueError, match=message):
        load_tokenizer(folder)
    assert load_tokenizer(f"{folder}/{name}").tokenize("마을 도서관에서") == expected
    make(tmp_path, {"tokenizer_class": "AlbertTokenizer", "do_lower_case": True})
    with pytest.raises(ValueError, match="do_lower_case True, but a SentencePiece model alone"):
        load_tokenizer(f"{folder}/{name}")
