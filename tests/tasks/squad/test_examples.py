"""Datasets in SQuAD's form: what is read, what is mended and counted, what is refused."""

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.tasks.squad.examples import (
    Dataset,
    Gold,
    LocatedAnswers,
    Paragraph,
    PredictionFile,
    Problem,
    Question,
    Span,
    locate,
    read_dataset,
    read_predictions,
)

CONTEXT = "마을 도서관은  언덕 위에 있다. 도서관에서 책을 빌린다."


def question(
    qas_id: str = "q1", answers: list[tuple[str, Any]] | None = None, **more: Any
) -> dict[str, Any]:
    items = [("도서관", 3)] if answers is None else answers
    return {
        "id": qas_id,
        "question": "무엇이 언덕 위에 있는가?",
        "answers": [{"text": text, "answer_start": start} for text, start in items],
        **more,
    }


def content(*questions: dict[str, Any], context: str = CONTEXT, version: str = "1.1") -> Any:
    paragraphs = [{"context": context, "qas": list(questions)}]
    return {"version": version, "data": [{"title": "도서관", "paragraphs": paragraphs}]}


def write(folder: Path, value: Any) -> str:
    path = folder / "data.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return str(path)


def read(folder: Path, value: Any) -> Dataset:
    return read_dataset(write(folder, value))


def only_question(dataset: Dataset) -> Question:
    ((_, found),) = dataset.questions()
    return found


def kinds(dataset: Dataset) -> list[tuple[str, str | None]]:
    return [(problem.kind, problem.qas_id) for problem in dataset.problems]


def test_read_dataset_version_1_gives_literal_values(tmp_path: Path) -> None:
    asked = Question("q1", "무엇이 언덕 위에 있는가?", (Gold("도서관", 3),), False)
    paragraph = Paragraph("도서관", CONTEXT, (asked,))
    assert read(tmp_path, content(question())) == Dataset("1.1", (paragraph,), ())


def test_read_dataset_several_articles_keep_their_order(tmp_path: Path) -> None:
    value = content(question("b"), question("a"))
    value["data"] += copy.deepcopy(content(question("c"))["data"])
    value["data"].append({"paragraphs": []})  # Google's scripts need no title
    dataset = read(tmp_path, value)
    assert [found.qas_id for _, found in dataset.questions()] == ["b", "a", "c"]
    assert list(dataset.golds()) == ["b", "a", "c"]
    assert dataset.problems == ()


def test_read_dataset_version_2_impossible_questions(tmp_path: Path) -> None:
    value = content(
        question("q1", is_impossible=False),
        question("q2", [], is_impossible=True, plausible_answers=[]),
        question("q3", []),
        question("q4", is_impossible=True),
        version="v2.0",
    )
    dataset = read(tmp_path, value)
    found = [(asked.is_impossible, len(asked.answers)) for _, asked in dataset.questions()]
    assert found == [(False, 1), (True, 0), (True, 0), (True, 0)]
    assert kinds(dataset) == [("impossible_with_answers", "q4")]
    assert dataset.golds() == {"q1": ["도서관"], "q2": [], "q3": [], "q4": []}


@pytest.mark.parametrize(
    ("removed", "version", "more"),
    [("", "1.1", {}), ("answers", "1.1", {}), ("", "v2.0", {"is_impossible": False})],
)
def test_read_dataset_without_answers_is_counted(
    removed: str, version: str, more: dict[str, Any], tmp_path: Path
) -> None:
    item = question(answers=[], **more)
    item.pop(removed, None)
    dataset = read(tmp_path, content(item, version=version))
    assert kinds(dataset) == [("no_answers", "q1")]
    assert not only_question(dataset).is_impossible
    assert dataset.golds() == {}
    assert "data[0].paragraphs[0].qas[0]" in dataset.problems[0].detail


def test_read_dataset_repeated_id_keeps_first(tmp_path: Path) -> None:
    value = content(question("q1"), question("q1", [("언덕", 9)]), question("q2", [("책", 25)]))
    dataset = read(tmp_path, value)
    assert kinds(dataset) == [("repeated_id", "q1")]
    assert dataset.golds() == {"q1": ["도서관"], "q2": ["책"]}
    assert dataset.problem_counts() == {"repeated_id": 1}


@pytest.mark.parametrize("context", ["", " \t\u00a0"])
def test_read_dataset_empty_context_is_counted_once(context: str, tmp_path: Path) -> None:
    dataset = read(tmp_path, content(question(), context=context))
    assert kinds(dataset) == [("empty_context", "q1")]
    assert only_question(dataset).answers == (Gold("도서관", None),)


def test_read_dataset_empty_question_and_answer_are_counted(tmp_path: Path) -> None:
    dataset = read(tmp_path, content(question(answers=[(" ", 2)], question=" ")))
    assert kinds(dataset) == [("empty_question", "q1"), ("empty_answer", "q1")]
    assert only_question(dataset).answers == (Gold(" ", None),)


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("도서관", 5, Gold("도서관", 3)),
        ("도서관", 17, Gold("도서관", 19)),
        ("도서관", 11, Gold("도서관", 3)),  # as near as the other one: the first
        ("도서관", 12, Gold("도서관", 19)),
        ("도서관", -1, Gold("도서관", 3)),
        ("도서관", 9999, Gold("도서관", 19)),
        (" 언덕 ", 0, Gold(" 언덕 ", 8)),
        (" 도서관 ", 19, Gold("도서관", 19)),
        ("책을\n", 2, Gold("책을", 25)),
    ],
)
def test_read_dataset_moved_answer_is_found_nearby(
    text: str, start: int, expected: Gold, tmp_path: Path
) -> None:
    dataset = read(tmp_path, content(question(answers=[(text, start)])))
    assert kinds(dataset) == [("answer_moved", "q1")]
    assert only_question(dataset).answers == (expected,)
    assert expected.start is not None
    assert CONTEXT[expected.start : expected.end] == expected.text
    assert f"not at {start} but at {expected.start}" in dataset.problems[0].detail


def test_read_dataset_answer_with_blanks_in_place_stays(tmp_path: Path) -> None:
    dataset = read(tmp_path, content(question(answers=[("도서관은 ", 3)])))
    assert dataset.problems == ()
    assert only_question(dataset).answers == (Gold("도서관은 ", 3),)


def test_read_dataset_answer_not_in_context_is_kept_for_the_score(tmp_path: Path) -> None:
    dataset = read(tmp_path, content(question(answers=[("바다", 3), ("도서관", 3)])))
    (problem,) = dataset.problems
    assert problem == Problem("answer_not_found", "q1", problem.detail)
    assert "'바다' is not in the context" in problem.detail
    assert only_question(dataset).answers == (Gold("바다", None), Gold("도서관", 3))
    assert dataset.golds() == {"q1": ["바다", "도서관"]}


@pytest.mark.parametrize(
    ("version", "is_known"),
    [
        *((version, False) for version in (None, "", "내 질문", 3)),
        *((v, True) for v in ("1.1", "v2.0", "KorQuAD_v1.0_dev", "TyDiQA-GoldP-1.1-ko-dev")),
    ],
)
def test_read_dataset_unknown_version_is_noted(
    version: object, is_known: bool, tmp_path: Path
) -> None:
    value = content(question())
    value["version"] = version
    if version is None:
        del value["version"]
    assert kinds(read(tmp_path, value)) == [("unknown_version", None)] * (not is_known)


P = "data[0].paragraphs[0]"
Q, A = f"{P}.qas[0]", f"{P}.qas[0].answers[0]"


@pytest.mark.parametrize(
    ("path", "wrong", "message"),
    [
        ("paragraphs", ..., "data[0].paragraphs is missing; found: title."),
        ("paragraphs 0 context", ..., f"{P}.context is missing; found: qas."),
        ("paragraphs 0 qas", ..., f"{P}.qas is missing; found: context."),
        ("paragraphs 0 qas 0 id", ..., f"{Q}.id is missing; found: "),
        ("paragraphs 0 qas 0 question", ..., f"{Q}.question is missing (question 'q1'); "),
        ("paragraphs 0 qas 0 answers 0 text", ...,
         f"{A}.text is missing (question 'q1'); found: answer_start."),
        ("paragraphs 0 qas 0 answers 0 answer_start", ...,
         f"{A}.answer_start is missing (question 'q1'); "),
        ("title", None, "data[0].title must be a string, got null."),
        ("paragraphs", {}, "data[0].paragraphs must be a list, got an object."),
        ("paragraphs 0", [], f"{P} must be an object, got a list."),
        ("paragraphs 0 context", 1.5, f"{P}.context must be a string, got a number."),
        ("paragraphs 0 qas 0", 1, f"{Q} must be an object, got an integer."),
        ("paragraphs 0 qas 0 id", 7, f"{Q}.id must be a string, got an integer."),
        ("paragraphs 0 qas 0 is_impossible", "no",
         f"{Q}.is_impossible must be true or false, got a string (question 'q1')."),
        ("paragraphs 0 qas 0 answers", {"text": ["도서관"]},
         f"{Q}.answers must be a list, got an object (question 'q1')."),
        ("paragraphs 0 qas 0 answers 0", "도서관",
         f"{A} must be an object, got a string (question 'q1')."),
        ("paragraphs 0 qas 0 answers 0 answer_start", True,
         f"{A}.answer_start must be an integer, got true or false (question 'q1')."),
    ],
)  # fmt: skip
def test_read_dataset_missing_key_or_wrong_type_is_named(
    path: str, wrong: Any, message: str, tmp_path: Path
) -> None:
    value = content(question())
    inner = value["data"][0]
    *keys, last = (int(key) if key.isdigit() else key for key in path.split())
    for key in keys:
        inner = inner[key]
    if wrong is ...:
        del inner[last]
    else:
        inner[last] = wrong
    with pytest.raises(ValueError) as error:
        read(tmp_path, value)
    assert str(error.value).startswith(f"{tmp_path}/data.json: {message}")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"version": "1.1",\n "data": [\n}', ":3: not JSON: Expecting value (column 1)."),
        (b'{"id": "a"}\n{"id": "b"}\n', ":2: not JSON: Extra data (column 1)."),
        (b"", " is empty; expected JSON."),
        (b" \n", " is empty; expected JSON."),
        ('{\n"도서관": 1}'.encode("cp949"), ": not UTF-8 text but CP949; give --input_enc"),
        (b"[" * 200_000, ": its JSON is nested too deeply."),
        (b'{"data": ' + b"9" * 5000 + b"}", ": not JSON to use: Exceeds the limit"),
        (b'[{"id": "a"}]', ", got a list."),
        (b'{"data": {}}', ": top level.data must be a list, got an object."),
        (b'{"data": ["x"]}', ": data[0] must be an object, got a string."),
        (b'"text"', ", got a string."),
        (b"null", ", got null."),
        (b'{"q1": "a", "q2": "b"}', ", got a predictions file (id to answer)."),
        (b"{}", ", got an object without data; found: nothing."),
        (b'{"q1": {"text": "a"}}', ", got an object without data; found: q1."),
    ],
)
def test_read_dataset_other_file_says_what_was_expected(
    data: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(data)
    with pytest.raises(ValueError) as error:
        read_dataset(str(path))
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_read_dataset_encodings_and_places_give_the_same(encoding: str, tmp_path: Path) -> None:
    expected = read(tmp_path, content(question()))
    text = json.dumps(content(question()), ensure_ascii=False)
    path = tmp_path / "data.json.gz"
    path.write_bytes(gzip.compress(text.encode(encoding)))
    assert read_dataset(str(path)) == read_dataset(f"file://{path}") == expected
    with pytest.raises(FileNotFoundError):
        read_dataset(str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("name", "questions"),
    [
        ("korquad/train.json", 9368),
        ("korquad/dev.json", 796),
        ("tydiqa-ko/train.json", 1168),
        ("tydiqa-ko/dev.json", 135),
    ],
)
def test_read_dataset_real_file_has_no_problem(
    name: str, questions: int, data_folder: Path
) -> None:
    dataset = read_dataset(str(data_folder / name))
    assert dataset.problems == ()
    assert len(dataset.golds()) == questions
    for paragraph, found in dataset.questions():
        for answer in found.answers:
            assert answer.start is not None
            assert paragraph.context[answer.start : answer.end] == answer.text


@given(
    st.text(alphabet="가나 ", max_size=12),
    st.text(alphabet="가나 ", max_size=3),
    st.integers(-3, 15),
)
def test_locate_equals_slow_search(context: str, text: str, near: int) -> None:
    expected = None
    for candidate in (text, text.strip()):
        starts = [i for i in range(len(context)) if context.startswith(candidate, i)]
        if candidate.strip() and starts and expected is None:
            start = min(starts, key=lambda i: (abs(i - near), i))
            expected = Span(candidate, start, start + len(candidate))
    assert locate(context, text, near) == expected


def test_read_predictions_strings_and_objects_are_read(tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    values = '{"a": "책", "b": {"text": "산", "answer_start": 4}, "c": {"text": ""}, "a": "책을",'
    path.write_text(values + '"d": {"text": "강", "answer_start": null}}', encoding="utf-8")
    found = read_predictions(str(path))
    assert found.texts == {"a": "책을", "b": "산", "c": "", "d": "강"}
    assert found.starts == {"b": 4}
    assert found.repeated == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["책"]', "expected predictions, a JSON object of id to answer: "),
        ('{"version": "1.1", "data": []}', "got a dataset; the dataset comes first."),
        ('{"a": [{"text": "책"}]}', "got a list for each id, as in nbest_predictions.json"),
        ('{"a": "책", "b": null}', "answer of 'b' must be a string, got null."),
        ('{"a": {"answer": "책"}}', "answer of 'a'.text is missing; found: answer."),
        (
            '{"a": {"text": "책", "answer_start": "3"}}',
            "answer of 'a'.answer_start must be an integer, got a string.",
        ),
        ('{"a": "책"\n', ":2: not JSON: "),
    ],
)
def test_read_predictions_wrong_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as error:
        read_predictions(str(path))
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))


def test_locate_answers_of_a_file_are_found_near_answer_start_or_first() -> None:
    context = "도서관은 언덕에 있다. 옛 도서관은 강가에 있었다."
    questions = tuple(Question(name, "어디?", (), False) for name in "abcdefg")
    dataset = Dataset("", (Paragraph("", context, questions),), ())
    texts = {"a": " 도서관 ", "b": "도서관", "c": "도서관", "d": "바다", "e": " ", "f": "강가"}
    predictions = PredictionFile({**texts, "x": "언덕"}, {"b": 14, "c": 9999}, 0)
    assert predictions.locate(dataset) == LocatedAnswers(
        spans={
            "a": Span("도서관", 0, 3),
            "b": Span("도서관", 15, 18),
            "c": Span("도서관", 15, 18),
            "f": Span("강가", 20, 22),
        },
        not_found=["d"],
        ambiguous=["a"],
    )
