"""From the flags to sentences, pieces and tags."""

import json
from pathlib import Path
from typing import Any

import pytest

from bert_ko.modeling.config import BertConfig
from bert_ko.progress import program_name
from bert_ko.tasks.command import Parts
from bert_ko.tasks.ner.preparation import Setting, prepare
from bert_ko.tasks.ner.settings import NerFlags
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary

WARNING = f"{program_name()}: warning:"

PIECES = [*SPECIAL_TOKENS, "민수", "##는", "서울", "##에"]
PERSON = "민\tB-PS\n수\tI-PS\n는\tO\n"
PLACE = "서\tB-LC\n울\tI-LC\n에\tO\n"
NOTHING = "는\tO\n서\tO\n"
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def parts() -> Parts:
    config = TokenizerConfig(tokenizer_type="wordpiece")
    return Parts(BertConfig(vocab_size=9), Tokenizer(Vocabulary(PIECES), config))


def write(path: Path, *sentences: str) -> str:
    path.write_text("\n".join(sentences), encoding="utf-8")
    return str(path)


def prepare_with(parts: Parts, folder: Path, **flags: Any) -> Setting:
    required = {"vocab_file": "v", "bert_config_file": "c", "output_dir": str(folder / "run")}
    return prepare(NerFlags(**{**required, **flags}), parts)


def test_prepare_reads_what_is_asked_for(parts: Parts, tmp_path: Path) -> None:
    for split, sentences in (("train", (PERSON, PLACE)), ("dev", (PLACE,)), ("test", (PERSON,))):
        write(tmp_path / f"{split}.tsv", *sentences)
    found = prepare_with(
        parts, tmp_path, data_dir=str(tmp_path), do_train=True, do_eval=True, do_predict=True
    )
    assert found.labels == ("O", "B-LC", "I-LC", "B-PS", "I-PS")
    assert found.training is not None and found.evaluated is not None
    assert found.training.features.tag_ids.tolist() == [0, 3, 0, 0, 0, 1, 0, 0]
    # What is predicted for has no tags that a model could see.
    assert found.evaluated.features.tag_ids.tolist() == [0, 0, 0, 0]
    assert found.evaluated.dataset.sentences[0].tags == ("B-LC", "I-LC", "O")
    assert found.predicted is not None
    assert [s.text for s in found.predicted.dataset.sentences] == ["민수는"]


def test_prepare_reads_nothing_else(parts: Parts, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", PERSON)
    found = prepare_with(
        parts, tmp_path, do_train=True, train_file=path, eval_file="/none", predict_file="/none"
    )
    assert (found.evaluated, found.predicted) == (None, None)


@pytest.mark.parametrize("flag", ["do_eval", "eval_every_steps"])
def test_prepare_reads_the_sentences_of_evaluation(flag: str, parts: Parts, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", PERSON)
    flags: dict[str, Any] = {"eval_every_steps": 5} if flag != "do_eval" else {"do_eval": True}
    found = prepare_with(parts, tmp_path, do_train=True, train_file=path, eval_file=path, **flags)
    assert found.evaluated is not None


def test_prepare_a_file_comes_before_the_folder(parts: Parts, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train.tsv", PLACE)
    path = write(tmp_path / "own.tsv", PERSON)
    found = prepare_with(
        parts, tmp_path, do_train=True, train_file=path, data_dir=str(tmp_path / "data")
    )
    assert found.training is not None and found.training.dataset.path == path


def test_prepare_names_in_a_folder_have_an_order(parts: Parts, tmp_path: Path) -> None:
    for name in ("klue-ner-v1_train.tsv", "klue-ner-v1.1_train.tsv", "train.txt", "train.tsv"):
        write(tmp_path / name, PERSON)
        found = prepare_with(parts, tmp_path, do_train=True, data_dir=str(tmp_path))
        assert found.training is not None
        assert found.training.dataset.path == str(tmp_path / name)


def test_prepare_format_of_the_files_may_be_said(parts: Parts, tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "민수는\tB-PS\n")  # a sentence of one word, or a token
    for form, tags in (("naver", ["B-PS"]), ("conll", ["B-PS"])):
        found = prepare_with(parts, tmp_path, do_train=True, train_file=path, file_format=form)
        assert found.training is not None and found.training.dataset.unit == "word"
        assert [list(s.tags) for s in found.training.dataset.sentences] == [tags]
    with pytest.raises(ValueError) as error:
        prepare_with(parts, tmp_path, do_train=True, train_file=path, file_format="klue")
    assert str(error.value) == (
        f"{path}:1: expected CHARACTER, a tab and TAG (KLUE's form), got '민수는\\tB-PS'."
    )


def test_prepare_says_what_was_read(parts: Parts, tmp_path: Path, capsys: Captured) -> None:
    path = write(tmp_path / "a.tsv", PERSON, "## 2\t\n", "서\tI-LC\n")
    prepare_with(parts, tmp_path, do_train=True, train_file=path)
    captured = capsys.readouterr()
    assert captured.out == f"{path}: 2 sentences, 2 entities, a tag a character\n"
    lines = captured.err.splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        f"{WARNING} empty_sentence: 1", f"{WARNING} ill_formed_tag: 1"
    ]  # fmt: skip


def test_prepare_more_sentences_come_behind_the_others(
    parts: Parts, tmp_path: Path, capsys: Captured
) -> None:
    paths = [write(tmp_path / f"{n}.tsv", text) for n, text in enumerate((PERSON, PLACE, PERSON))]
    found = prepare_with(
        parts, tmp_path, do_train=True, train_file=paths[0], extra_train_file=tuple(paths[1:])
    )
    assert found.training is not None
    assert [s.text for s in found.training.dataset.sentences] == ["민수는", "서울에", "민수는"]
    assert found.labels == ("O", "B-LC", "I-LC", "B-PS", "I-PS")
    assert capsys.readouterr().err == (
        f"{WARNING} {paths[1]} has no entity of type PS: what {paths[0]} calls so is O "
        "there, or another type\n"
    )


def test_prepare_labels_are_those_beside_the_weights(parts: Parts, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", PERSON)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "labels.json").write_text('{"labels": ["O", "B-ZZ", "I-ZZ"]}')
    found = prepare_with(parts, tmp_path, do_predict=True, predict_file=path)
    assert found.labels == ("O", "B-ZZ", "I-ZZ")
    # What is trained has those of its sentences.
    found = prepare_with(parts, tmp_path, do_train=True, train_file=path)
    assert found.labels == ("O", "B-PS", "I-PS")


@pytest.mark.parametrize("labels", [["B-"], ["I"], ["o"], ["0", "1"], ["PS-B"], ["B PS"], ["LC"]])
def test_prepare_labels_of_no_tagger_are_refused(
    labels: list[str], parts: Parts, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    text = json.dumps({"labels": ["O", "B-PS", *labels]})
    (tmp_path / "run" / "labels.json").write_text(text)
    with pytest.raises(ValueError) as error:
        prepare_with(parts, tmp_path, interactive=True)
    assert str(error.value) == (
        f"the labels of {tmp_path}/run must be O, B-TYPE or I-TYPE, got {', '.join(labels)}; give "
        "weights that were trained for tags."
    )


def test_prepare_labels_of_a_hugging_face_folder_are_known(parts: Parts, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    names = {"0": "B-PS", "1": "I-PS", "2": "O"}
    (tmp_path / "hf" / "config.json").write_text(json.dumps({"id2label": names}))
    found = prepare_with(parts, tmp_path, interactive=True, init_checkpoint=str(tmp_path / "hf"))
    assert found.labels == ("B-PS", "I-PS", "O")


def test_prepare_without_labels_says_what_to_give(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        prepare_with(parts, tmp_path, interactive=True)
    assert str(error.value) == (
        f"no labels.json beside {tmp_path}/run; give the --train_file that the model was trained "
        "on, for its labels."
    )
    path = write(tmp_path / "a.tsv", PERSON)
    found = prepare_with(parts, tmp_path, interactive=True, train_file=path)
    assert (found.labels, found.training) == (("O", "B-PS", "I-PS"), None)


def test_prepare_unknown_tags_are_named(parts: Parts, tmp_path: Path, capsys: Captured) -> None:
    train, dev = write(tmp_path / "a.tsv", PERSON), write(tmp_path / "b.tsv", PLACE, PERSON)
    flags: dict[str, Any] = {"do_train": True, "train_file": train}
    prepare_with(parts, tmp_path, **flags, do_eval=True, eval_file=dev)
    assert capsys.readouterr().err == (
        f"{WARNING} {dev}: the model does not know the tags B-LC, I-LC; it never predicts them\n"
    )
    # What is predicted for is not looked at.
    prepare_with(parts, tmp_path, **flags, do_predict=True, predict_file=dev)
    assert capsys.readouterr().err == ""


def test_prepare_drawn_sentences_decide_the_labels(parts: Parts, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", PERSON, PLACE)
    found = prepare_with(
        parts, tmp_path, do_train=True, train_file=path, max_train_examples=1, random_seed=3
    )
    assert found.training is not None
    (sentence,) = found.training.dataset.sentences
    assert set(sentence.tags) == set(found.labels) and len(found.labels) == 3


def test_prepare_nothing_to_learn_is_refused(parts: Parts, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", NOTHING)
    with pytest.raises(ValueError) as error:
        prepare_with(parts, tmp_path, do_train=True, train_file=path)
    assert str(error.value) == f"{path} has no entity; there is nothing to learn from it."


def test_setting_cuts_and_plans(parts: Parts, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", PERSON, PLACE)
    found = prepare_with(parts, tmp_path, do_train=True, train_file=path, max_seq_length=20)
    assert found.training is not None
    sentences = found.training.dataset.sentences
    assert found.cut(sentences).tag_ids.tolist() == [0] * 8
    assert found.cut(sentences, with_tags=True).tag_ids.tolist() == [0, 3, 0, 0, 0, 1, 0, 0]
    plan = found.plan(4, found.training.features)
    assert (plan.batch_size, plan.special_ids, plan.lengths) == (4, (0, 2, 3), (16,))
    assert found.plan(4, None).lengths[-1] == 20
