"""What run_squad reads before it computes, from small files."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.modeling.bert import BertConfig
from bert_ko.progress import program_name
from bert_ko.tasks.fine_tuning import file_identity
from bert_ko.tasks.squad.examples import Span
from bert_ko.tasks.squad.features import Features
from bert_ko.tasks.squad.josa import JosaStripper, Stripped
from bert_ko.tasks.squad.josa_policy import HelpfulStripper
from bert_ko.tasks.squad.reading import Questions, choose_stripper, read_questions
from bert_ko.tasks.squad.settings import SquadFlags
from bert_ko.tasks.squad.task import SquadTask
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary
from bert_ko.training.model_files import ModelFiles

WARNING = f"{program_name()}: warning:"
PIECES = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "마을", "도서관", "##은", "언덕", "위에"),
    *("있", "##다", ".", "강가에", "무엇", "##인가", "?"),
)
CONTEXT = "마을 도서관은 언덕 위에 있다. 강가에 언덕 있다."


@pytest.fixture(scope="module")
def tiny() -> Tokenizer:
    # Blanks alone part words, so that the pieces do not hang on MeCab's dictionary.
    config = TokenizerConfig("wordpiece", "morpheme", normalization="google")
    return Tokenizer(Vocabulary(PIECES), config, fingerprint="0123")


def flags(folder: Path, **values: Any) -> SquadFlags:
    known: dict[str, Any] = {
        "vocab_file": "v",
        "bert_config_file": "c",
        "output_dir": str(folder),
        "do_predict": True,
        "predict_file": "p",
        "max_seq_length": 24,
        "max_query_length": 8,
        "doc_stride": 4,
    }
    return SquadFlags(**{**known, **values})


def write(folder: Path, golds: dict[str, str | None], name: str = "questions.json") -> str:
    """Questions by id; None for one without an answer, a text that is not there for a lost one."""
    qas = [
        {
            "id": qas_id,
            "question": "무엇인가?",
            "is_impossible": gold is None,
            "answers": [{"text": gold, "answer_start": CONTEXT.find(gold)}] if gold else [],
        }
        for qas_id, gold in golds.items()
    ]
    data = [{"title": "마을", "paragraphs": [{"context": CONTEXT, "qas": qas}]}]
    path = folder / name
    path.write_text(json.dumps({"version": "1.1", "data": data}), encoding="utf-8")
    return str(path)


def questions(
    folder: Path, tokenizer: Tokenizer, golds: dict[str, str | None], **values: Any
) -> Questions:
    return read_questions(flags(folder, **values), write(folder, golds), tokenizer)


# Questions


def test_read_questions_cuts_them_and_keeps_the_windows(tmp_path: Path, tiny: Tokenizer) -> None:
    found = questions(tmp_path, tiny, {"q1": "언덕", "q2": "강가에"})
    assert found.path == str(tmp_path / "questions.json")
    assert found.describe(np.array([0, 1], np.int32)) == "windows of the questions q1, q2"
    assert found.features.answer_first.tolist() == [3, 8]
    (cache,) = tmp_path.glob("features-*.npz")
    written = cache.stat().st_mtime_ns
    again = questions(tmp_path, tiny, {"q1": "언덕", "q2": "강가에"})
    assert np.array_equal(again.features.context_ids, found.features.context_ids)
    assert cache.stat().st_mtime_ns == written


def test_read_questions_impossible_ones_must_be_announced(tmp_path: Path, tiny: Tokenizer) -> None:
    golds = {"q1": "언덕", "q2": None, "q3": None}
    with pytest.raises(ValueError) as error:
        questions(tmp_path, tiny, golds)
    assert str(error.value) == (
        f"{tmp_path}/questions.json: questions without an answer (is_impossible): 2; give "
        "--version_2_with_negative."
    )
    for flag in ("version_2_with_negative", "oracle"):
        found = questions(tmp_path, tiny, golds, **{flag: True})
        assert found.features.window_questions.tolist() == [0, 1, 2]


def test_read_questions_none_there_is_an_error(tmp_path: Path, tiny: Tokenizer) -> None:
    with pytest.raises(ValueError) as error:
        questions(tmp_path, tiny, {})
    assert str(error.value) == f"{tmp_path}/questions.json has no question."
    assert list(tmp_path.glob("features-*")) == []


def test_questions_trainable_leaves_out_answers_that_are_not_there(
    tmp_path: Path, tiny: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    golds = {"q1": "바다", "q2": "언덕", "q3": None, "q4": "하늘", "q5": "강가"}
    found = questions(tmp_path, tiny, golds, version_2_with_negative=True, max_seq_length=16)
    features = found.trainable().features
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"{WARNING} {found.path}: 2 questions are not trained on"
    )
    before = found.features
    assert before.window_questions.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert features.window_questions.tolist() == [1, 1, 2, 2, 4, 4]
    assert features.window_first.tolist() == [0, 4] * 3
    assert features.window_counts.tolist() == [10, 9] * 3
    windows = np.arange(6, dtype=np.int32)
    starts, _ = features.targets(windows)
    assert (starts > 0).tolist() == [True, False, False, False, True, True]
    assert features.gather(windows, 16, (0, 2, 3))["input_ids"][0].tolist() == (
        before.gather(windows[2:3], 16, (0, 2, 3))["input_ids"][0].tolist()
    )


def test_questions_trainable_nothing_left_out(
    tmp_path: Path, tiny: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    found = questions(tmp_path, tiny, {"q1": "언덕", "q2": "강가"})
    trained = found.trainable().features.window_questions
    assert trained.tolist() == found.features.window_questions.tolist()
    assert capsys.readouterr().err == ""


def test_questions_trainable_nothing_to_train_on_is_an_error(
    tmp_path: Path, tiny: Tokenizer
) -> None:
    with pytest.raises(ValueError) as error:
        questions(tmp_path, tiny, {"q1": "바다"}).trainable()
    assert str(error.value) == f"{tmp_path}/questions.json has no question to train on."


# What is printed


def test_read_questions_counts_and_names_problems(
    tmp_path: Path, tiny: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    golds: dict[str, str | None] = {"q1": "언덕", **{f"x{n}": "바다" for n in range(7)}}
    found = questions(tmp_path, tiny, golds)
    printed = capsys.readouterr()
    assert printed.out == f"{found.path}: 8 questions on 1 contexts, 8 windows\n"
    assert printed.err == (
        f"{WARNING} {found.path}: answer_not_found: 7 (x0, x1, x2, x3, x4 and 2 more)\n"
    )


def test_read_questions_verbose_has_every_problem(
    tmp_path: Path, tiny: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    found = questions(tmp_path, tiny, {"q1": "바다", "q2": ""}, verbose_logging=True)
    start = f"{WARNING} {found.path}: "
    place = f"{found.path}: data[0].paragraphs[0].qas"
    assert capsys.readouterr().err.splitlines() == [
        f"{start}answer_not_found: 1 (q1)",
        f"{start}{place}[0]: '바다' is not in the context",
        f"{start}no_answers: 1 (q2)",
        f"{start}{place}[1] has no answers; it can't be scored",
    ]


def test_read_questions_problem_of_the_file_says_its_detail(
    tmp_path: Path, tiny: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(write(tmp_path, {"q1": "언덕"}))
    path.write_text(path.read_text().replace('"1.1"', '"\\u2028x"'), encoding="utf-8")
    read_questions(flags(tmp_path), str(path), tiny)
    assert capsys.readouterr().err == (
        f"{WARNING} {path}: unknown_version: 1 (the version '\\\\u2028x' is unknown; "
        "read as SQuAD's form)\n"
    )


# Files


def test_file_identity_is_name_and_content(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "train.json", tmp_path / "a" / "train.json"):
        path.write_bytes(b"{}")
        digest = hashlib.sha256(b"{}").hexdigest()[:16]
        assert file_identity(str(path)) == ["train.json", digest]
    path.write_bytes(b"{ }")
    assert file_identity(str(path)) != ["train.json", digest]


# Stripping


HELPED: dict[str, str | None] = {f"q{n}": "강가" for n in range(3)}


def test_choose_stripper_never_is_none(tmp_path: Path, tiny: Tokenizer) -> None:
    training = questions(tmp_path, tiny, HELPED)
    assert choose_stripper(flags(tmp_path, strip_josa="never"), tiny, training) is None
    assert not (tmp_path / "josa_endings.json").exists()


def test_choose_stripper_always_learns_nothing(tmp_path: Path, tiny: Tokenizer) -> None:
    training = questions(tmp_path, tiny, HELPED)
    found = choose_stripper(flags(tmp_path, strip_josa="always"), tiny, training)
    assert type(found) is JosaStripper
    assert not (tmp_path / "josa_endings.json").exists()


def test_choose_stripper_auto_learns_writes_and_is_found_again(
    tmp_path: Path, tiny: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    # 강가에 is one piece, so that a reader that means 강가 answers it.
    training = questions(tmp_path, tiny, {**HELPED, "q4": "도서관"})
    found = choose_stripper(flags(tmp_path), tiny, training)
    assert isinstance(found, HelpfulStripper)
    assert found.endings == {"josa 에"}
    digest = hashlib.sha256((tmp_path / "questions.json").read_bytes()).hexdigest()[:16]
    assert json.loads((tmp_path / "josa_endings.json").read_text(encoding="utf-8")) == {
        "file": ["questions.json", digest],
        "endings": ["josa 에"],
    }
    again = choose_stripper(flags(tmp_path), tiny, None)
    assert isinstance(again, HelpfulStripper)
    assert again.endings == found.endings
    place = CONTEXT.index("강가에")
    stripped = again.strip(again.analyze(CONTEXT), Span("강가에", place, place + 3))
    assert stripped == Stripped(Span("강가", place, place + 2), "에", "josa")
    assert capsys.readouterr().err == ""


def test_choose_stripper_has_the_user_dictionary_of_the_tokenizer(
    user_dictionary: str, tmp_path: Path
) -> None:
    config, endings = flags(tmp_path), '{"endings": ["josa 의"]}'
    (tmp_path / "josa_endings.json").write_text(endings, encoding="utf-8")
    context, kept = "책방 하늘가람의 앞에서 만났다.", []
    for dictionaries in ([], [user_dictionary]):
        tokenizer = Tokenizer(Vocabulary(PIECES), TokenizerConfig(), user_dictionaries=dictionaries)
        stripper = choose_stripper(config, tokenizer, None)
        assert stripper is not None
        kept.append(stripper.strip(stripper.analyze(context), Span("하늘가람의", 3, 8)).span.text)
    assert kept == ["하늘가람", "하늘가람의"]


def test_choose_stripper_auto_what_does_not_help_is_not_cut(
    tmp_path: Path, tiny: Tokenizer
) -> None:
    golds: dict[str, str | None] = {**HELPED, **{f"w{n}": "강가에" for n in range(2)}}
    found = choose_stripper(flags(tmp_path), tiny, questions(tmp_path, tiny, golds))
    assert isinstance(found, HelpfulStripper)
    assert found.endings == set()  # 3 better and 2 worse are too few


def test_choose_stripper_auto_without_anything_learnt_warns(
    tmp_path: Path, tiny: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose_stripper(flags(tmp_path), tiny, None) is None
    assert capsys.readouterr().err == (
        f"{WARNING} --strip_josa=auto strips nothing: what helps is learnt from "
        f"--train_file, and {tmp_path}/josa_endings.json does not exist.\n"
    )


def test_choose_stripper_auto_damaged_file_is_an_error(tmp_path: Path, tiny: Tokenizer) -> None:
    path = tmp_path / "josa_endings.json"
    path.write_text('{"endings": [')
    with pytest.raises(ValueError) as error:
        choose_stripper(flags(tmp_path), tiny, None)
    assert str(error.value) == (
        f"{path}: not a JSON object; delete it, or write to another folder."
    )


# Everything together


def make_task(folder: Path, tokenizer: Tokenizer, **values: Any) -> SquadTask:
    """Of a training file of three questions and a file of one to be answered."""
    files = {
        "train_file": write(folder, HELPED, "train.json"),
        "predict_file": write(folder, {"p1": "언덕"}, "dev.json"),
    }
    config = flags(folder, **{"do_predict": False, **files, **values})
    return SquadTask(config, ModelFiles(BertConfig(vocab_size=17), "config.json", tokenizer))


@pytest.mark.parametrize(
    ("values", "is_trained_on", "is_asked", "is_stripped"),
    [
        ({"do_train": True}, True, False, False),
        ({"do_train": True, "eval_every_steps": 5}, True, True, True),
        ({"do_train": True, "do_predict": True}, True, True, True),
        # To learn what helps, and for nothing else:
        ({"do_predict": True}, True, True, True),
        ({"do_predict": True, "strip_josa": "always"}, False, True, False),
        ({"do_predict": True, "strip_josa": "never"}, False, True, False),
        ({"interactive": True}, True, False, True),
        ({"interactive": True, "strip_josa": "never"}, False, False, False),
    ],
)
def test_squad_task_reads_what_is_needed_and_nothing_else(
    values: dict[str, Any], is_trained_on: bool, is_asked: bool, is_stripped: bool,
    tmp_path: Path, tiny: Tokenizer, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    task = make_task(tmp_path, tiny, **values)
    assert (task.training is not None) == values.get("do_train", False)
    assert (tmp_path / "josa_endings.json").exists() == is_stripped
    printed = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    wanted = [tmp_path / "train.json"] * is_trained_on + [tmp_path / "dev.json"] * is_asked
    assert printed == [str(path) for path in wanted]


def test_squad_task_problems_of_both_files_are_written(tmp_path: Path, tiny: Tokenizer) -> None:
    lost = {
        name: write(tmp_path, {"q": "언덕", "x": "바다"}, f"{name}.json")
        for name in ("train_file", "predict_file")
    }
    make_task(tmp_path, tiny, do_train=True, do_predict=True, strip_josa="never", **lost)
    lines = (tmp_path / "dataset_problems.jsonl").read_text(encoding="utf-8").splitlines()
    assert [(r["file"], r["id"]) for r in map(json.loads, lines)] == [
        (path, "x") for path in lost.values()
    ]


def test_squad_task_plan_is_known_beforehand_or_chosen_for_the_windows(
    tmp_path: Path, tiny: Tokenizer
) -> None:
    features: Features = questions(tmp_path, tiny, HELPED).features
    assert features.lengths.tolist() == [19] * 3
    for length_buckets, known, unknown in ((True, (32,), (64, 100)), (False, (100,), (100,))):
        task = make_task(
            tmp_path, tiny, do_train=True, max_seq_length=100, length_buckets=length_buckets
        )
        assert task.plan(5, features.lengths).lengths == known
        assert task.plan(5, None).lengths == unknown
