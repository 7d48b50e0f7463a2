"""What run_squad reads before it computes, from small files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.json_files import write_json
from bert_ko.messages import program_name
from bert_ko.tasks.squad.examples import Dataset, Gold, Paragraph, Question, Span
from bert_ko.tasks.squad.features import WindowConfig, build_features
from bert_ko.tasks.squad.josa import JosaStripper
from bert_ko.tasks.squad.josa_rules import Stripped
from bert_ko.tasks.squad.reading import (
    Questions,
    choose_stripper,
    consult_oracle,
    format_oracle,
    learn_endings,
    read_questions,
    unreachable_records,
)
from bert_ko.tasks.squad.scores import Scores
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary
from tests.tasks.squad.conftest import HILL, HILL_PIECES, squad_flags, write_hill

WARNING = f"{program_name()}: warning:"
Printed = pytest.CaptureFixture[str]


def questions(
    folder: Path, tokenizer: Tokenizer, golds: dict[str, str | None], **values: Any
) -> Questions:
    return read_questions(squad_flags(folder, **values), write_hill(folder, golds), tokenizer)


def warned(capsys: Printed) -> str:
    """The lines of standard error that are warnings."""
    lines = capsys.readouterr().err.splitlines(keepends=True)
    return "".join(line for line in lines if line.startswith(WARNING))


# Questions


def test_read_questions_cuts_and_counts_them(
    tmp_path: Path, blanks: Tokenizer, capsys: Printed
) -> None:
    found = questions(tmp_path, blanks, {"q1": "언덕", "q2": "강가에"})
    assert found.path == str(tmp_path / "questions.json")
    assert found.describe(np.array([0, 1], np.int32)) == "windows of the questions q1, q2"
    assert found.features.answer_first.tolist() == [3, 8]
    assert len(list(tmp_path.glob("features-*.npz"))) == 1
    printed = capsys.readouterr()
    assert printed.err == f"{found.path}: 2 questions on 1 contexts, 2 windows\n"
    assert printed.out == ""


def test_read_questions_impossible_ones_must_be_announced(
    tmp_path: Path, blanks: Tokenizer
) -> None:
    golds = {"q1": "언덕", "q2": None, "q3": None}
    with pytest.raises(ValueError) as error:
        questions(tmp_path, blanks, golds)
    assert str(error.value) == (
        f"{tmp_path}/questions.json: questions without an answer (is_impossible): 2; give "
        "--version_2_with_negative."
    )
    for flag in ("version_2_with_negative", "oracle"):
        found = questions(tmp_path, blanks, golds, **{flag: True})
        assert found.features.window_questions.tolist() == [0, 1, 2]


def test_read_questions_none_there_is_an_error(tmp_path: Path, blanks: Tokenizer) -> None:
    with pytest.raises(ValueError) as error:
        questions(tmp_path, blanks, {})
    assert str(error.value) == f"{tmp_path}/questions.json has no question."
    assert list(tmp_path.glob("features-*")) == []


def test_read_questions_problems_are_named_and_verbose_has_all(
    tmp_path: Path, blanks: Tokenizer, capsys: Printed
) -> None:
    golds: dict[str, str | None] = {"q1": "언덕", **{f"x{n}": "바다" for n in range(7)}}
    start = f"{WARNING} {questions(tmp_path, blanks, golds).path}: "
    assert warned(capsys) == (
        f"{start}answer_not_found: 7 (x0, x1, x2, x3, x4 and 2 more): not in the context, not "
        "trained on\n"
    )
    path = questions(tmp_path, blanks, {"q1": "바다", "q2": ""}, verbose_logging=True).path
    place = f"{path}: data[0].paragraphs[0].qas"
    assert warned(capsys).splitlines() == [
        f"{start}answer_not_found: 1 (q1): not in the context, not trained on",
        f"{start}{place}[0]: '바다' is not in the context",
        f"{start}no_answers: 1 (q2): neither trained on nor scored",
        f"{start}{place}[1] has no answers; it can't be scored",
    ]


def test_read_questions_problem_of_the_file_says_its_detail(
    tmp_path: Path, blanks: Tokenizer, capsys: Printed
) -> None:
    path = Path(write_hill(tmp_path, {"q1": "언덕"}))
    path.write_text(path.read_text().replace('"1.1"', '"\\u2028x"'), encoding="utf-8")
    read_questions(squad_flags(tmp_path), str(path), blanks)
    assert warned(capsys) == (
        f"{WARNING} {path}: unknown_version: 1 (the version '\\\\u2028x' is unknown; "
        "read as SQuAD's form)\n"
    )


def test_questions_trainable_leaves_out_answers_that_are_not_there(
    tmp_path: Path, blanks: Tokenizer, capsys: Printed
) -> None:
    golds = {"q1": "바다", "q2": "언덕", "q3": None, "q4": "하늘", "q5": "강가"}
    found = questions(tmp_path, blanks, golds, version_2_with_negative=True, max_seq_length=16)
    features = found.trainable().features
    assert warned(capsys).splitlines()[-1] == (
        f"{WARNING} {found.path}: 2 questions are not trained on"
    )
    assert found.features.window_questions.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert features.window_questions.tolist() == [1, 1, 2, 2, 4, 4]
    starts, _ = features.targets(np.arange(6, dtype=np.int32))
    assert (starts > 0).tolist() == [True, False, False, False, True, True]


def test_questions_trainable_all_or_none(
    tmp_path: Path, blanks: Tokenizer, capsys: Printed
) -> None:
    found = questions(tmp_path, blanks, {"q1": "언덕", "q2": "강가"})
    trained = found.trainable().features.window_questions
    assert trained.tolist() == found.features.window_questions.tolist()
    assert warned(capsys) == ""
    with pytest.raises(ValueError) as error:
        questions(tmp_path, blanks, {"q1": "바다"}).trainable()
    assert str(error.value) == f"{tmp_path}/questions.json has no question to train on."


# Stripping

HELPED: dict[str, str | None] = {f"q{n}": "강가" for n in range(3)}


@pytest.mark.parametrize("strip_josa", ["never", "always"])
def test_choose_stripper_never_and_always_need_no_endings(
    strip_josa: str, tmp_path: Path, blanks: Tokenizer
) -> None:
    found = choose_stripper(squad_flags(tmp_path, strip_josa=strip_josa), blanks, None)
    assert (found is None) == (strip_josa == "never")
    assert found is None or found.endings is None


def endings_of(known: Questions) -> list[str]:
    return learn_endings(known.dataset, known.features, JosaStripper())


def test_choose_stripper_auto_strips_what_is_learnt_and_finds_it_again(
    tmp_path: Path, blanks: Tokenizer, capsys: Printed
) -> None:
    # 강가에 is one piece, so that a reader that means 강가 answers it.
    learnt = endings_of(questions(tmp_path, blanks, {**HELPED, "q4": "도서관"}))
    assert learnt == ["josa 에"]
    found = choose_stripper(squad_flags(tmp_path), blanks, learnt)
    assert found is not None and found.endings == {"josa 에"}
    write_json(str(tmp_path / "josa_endings.json"), {"endings": learnt})
    again = choose_stripper(squad_flags(tmp_path), blanks, None)
    assert again is not None and again.endings == found.endings
    analysis, place = again.analyze(HILL), HILL.index("강가에")
    stripped = again.strip(analysis, Span("강가에", place, place + 3))
    assert stripped == Stripped(Span("강가", place, place + 2), "에", "josa")
    span = Span("도서관은", 3, 7)  # with an ending that was not learnt
    assert again.strip(analysis, span) == Stripped(span, "", "")
    assert JosaStripper().strip(analysis, span).removed == "은"
    assert warned(capsys) == ""


def test_choose_stripper_has_the_user_dictionary_of_the_tokenizer(
    user_dictionary: str, tmp_path: Path
) -> None:
    config, endings = squad_flags(tmp_path), '{"endings": ["josa 의"]}'
    (tmp_path / "josa_endings.json").write_text(endings, encoding="utf-8")
    context, kept = "책방 하늘가람의 앞에서 만났다.", []
    for dictionaries in ([], [user_dictionary]):
        vocab = Vocabulary(HILL_PIECES)
        tokenizer = Tokenizer(vocab, TokenizerConfig(), user_dictionaries=dictionaries)
        stripper = choose_stripper(config, tokenizer, None)
        assert stripper is not None
        kept.append(stripper.strip(stripper.analyze(context), Span("하늘가람의", 3, 8)).span.text)
    assert kept == ["하늘가람", "하늘가람의"]


def test_learn_endings_what_does_not_help_is_left_out(tmp_path: Path, blanks: Tokenizer) -> None:
    golds: dict[str, str | None] = {**HELPED, **{f"w{n}": "강가에" for n in range(2)}}
    assert endings_of(questions(tmp_path, blanks, golds)) == []  # 3 better, 2 worse: too few


def test_choose_stripper_auto_without_anything_learnt_warns(
    tmp_path: Path, blanks: Tokenizer, capsys: Printed
) -> None:
    assert choose_stripper(squad_flags(tmp_path), blanks, None) is None
    assert warned(capsys) == (
        f"{WARNING} --strip_josa=auto strips nothing: what helps is learnt from "
        f"--train_file, and {tmp_path}/josa_endings.json does not exist.\n"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"endings": [',
            "{}:1: not JSON: Expecting value (column 14). Delete the file, or write to another "
            "folder.",
        ),
        ('{"endings": [3]}', "{} lists no endings; delete it, and give --train_file."),
    ],
)
def test_choose_stripper_auto_damaged_file_is_an_error(
    content: str, message: str, tmp_path: Path, blanks: Tokenizer
) -> None:
    path = tmp_path / "josa_endings.json"
    path.write_text(content)
    with pytest.raises(ValueError) as error:
        choose_stripper(squad_flags(tmp_path), blanks, None)
    assert str(error.value) == message.format(path)


# The oracle

FIRST, SECOND = "마을 도서관은  언덕\u00a0위에 있다.", "강가에 종이배가 있다."


def question(qas_id: str, context: str, *golds: str, is_impossible: bool = False) -> Question:
    answers = tuple(Gold(gold, context.index(gold) if gold in context else None) for gold in golds)
    return Question(qas_id, "무엇인가?", answers, is_impossible)


def consult(tokenizer: Tokenizer, first: list[Question], *others: Question) -> Scores:
    paragraphs = (Paragraph("", FIRST, tuple(first)), Paragraph("", SECOND, others))
    data = Dataset("", paragraphs, ())
    return consult_oracle(data, build_features(data, tokenizer, WindowConfig()))


def test_oracle_answers_are_the_pieces_that_the_first_gold_touches(blanks: Tokenizer) -> None:
    scores = consult(
        blanks,
        [
            question("whole", FIRST, "도서관"),
            question("blanks", FIRST, "도서관은  언덕\u00a0위에"),
            question("inside", FIRST, "서관"),
            question("second", FIRST, "서관", "도서관"),
        ],
        question("later", SECOND, "종이배"),
        question("cut", SECOND, "강가"),
        question("lost", SECOND, "바다"),
        question("silence", SECOND, is_impossible=True),
        question("unknown", SECOND),
    )
    assert (scores.total, scores.missing, scores.extra) == (8, ["lost"], 0)
    assert [i for i, score in scores.by_question.items() if score.exact_match] == [
        "whole", "blanks", "second", "later", "silence",
    ]  # fmt: skip
    assert scores.means["f1"] == pytest.approx(100 * (5 + 0.8 + 0.8) / 8)
    records = unreachable_records(scores)
    assert records == [
        {"id": "inside", "golds": ["서관"], "best": "도서관", "f1": 0.8},
        {"id": "cut", "golds": ["강가"], "best": "강가에", "f1": 0.8},
        {"id": "lost", "golds": ["바다"], "best": None, "f1": 0.0},
    ]
    assert [line.split() for line in format_oracle(scores, records).split("\n")] == [
        ["oracle"],
        ["-----------", "------"],
        ["exact_match", "62.50"],
        ["f1", "82.50"],
        ["questions", "8"],
        ["unreachable", "3"],
        [],
        ["unreachable", "gold", "in", "whole", "pieces"],
        ["-----------", "----", "---------------"],
        ["inside", "서관", "도서관"],
        ["cut", "강가", "강가에"],
        ["lost", "바다", "(none)"],
    ]


@pytest.mark.parametrize(
    ("count", "last"), [(1, "q0"), (20, "q19"), (21, "and 1 more"), (1025, "and 1,005 more")]
)
def test_oracle_format_shows_20_and_counts_the_rest(
    count: int, last: str, blanks: Tokenizer
) -> None:
    golds = ("서관", "관", "도서")
    scores = consult(blanks, [question(f"q{number}", FIRST, *golds) for number in range(count)])
    records = unreachable_records(scores)
    lines = format_oracle(scores, records).split("\n")
    assert sum("서관 / 관 / 도서 " in line for line in lines) == min(count, 20)
    assert lines[-1].startswith(last)
    assert len(records) == count


def test_oracle_nothing_unreachable_has_one_table(blanks: Tokenizer) -> None:
    for questions, total in (([], 0), ([question("q", FIRST, "마을")], 1)):
        scores = consult(blanks, questions)
        assert (scores.means["exact_match"], scores.total) == (100 * total, total)
        assert unreachable_records(scores) == []
        assert format_oracle(scores, []).split("\n")[-1].split() == ["unreachable", "0"]
