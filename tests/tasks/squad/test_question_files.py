"""Datasets in SQuAD's form: what is read, what is mended and counted, what is refused."""

import copy
import gzip
import json
import math
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bert_ko.tasks.squad.examples import Dataset, Gold, Paragraph, Problem, Question
from bert_ko.tasks.squad.question_files import read_dataset

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
        ("paragraphs 0 qas 0 question", ..., f"{Q}.question is missing (question 'q1'); "),
        ("paragraphs 0 qas 0 answers 0 text", ...,
         f"{A}.text is missing (question 'q1'); found: answer_start."),
        ("paragraphs 0 qas 0 answers 0 answer_start", ...,
         f"{A}.answer_start is missing (question 'q1'); "),
        ("paragraphs", {}, "data[0].paragraphs must be a list, got an object."),
        ("paragraphs 0", [], f"{P} must be an object, got a list."),
        ("paragraphs 0 context", 1.5, f"{P}.context must be a string, got a number."),
        ("paragraphs 0 qas 0", 1, f"{Q} must be an object, got an integer."),
        ("paragraphs 0 qas 0 id", [7], f"{Q}.id must be a string, got a list."),
        ("paragraphs 0 qas 0 is_impossible", "no",
         f"{Q}.is_impossible must be true or false, got a string (question 'q1')."),
        ("paragraphs 0 qas 0 answers", "도서관",
         f"{Q}.answers must be a list, got a string (question 'q1')."),
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
        (b'{"version": "1.1"}\n}', ":2: not JSON: Expecting value."),
        (b'{\n"data": []}\n}', ":3: not JSON: Extra data (column 1)."),
        (b"", " is empty; expected JSON."),
        (b" \n", " is empty; expected JSON."),
        ('{\n"도서관": 1}'.encode("cp949"), ": not UTF-8 text but CP949; give --input_enc"),
        (b"[" * 200_000, ": its JSON is nested too deeply."),
        (b'{"data": ' + b"9" * 5000 + b"}", ": not JSON to use: Exceeds the limit"),
        (b'[{"id": "a"}]', ": [0].paragraphs is missing; found: id."),
        (b"[1]", ": [0] must be an object, got an integer."),
        (b'{"data": {}}', ": top level.data must be a list, got an object."),
        (b'{"data": ["x"]}', ": data[0] must be an object, got a string."),
        (b'"text"', ", got a string."),
        (b"null", ", got null."),
        (b'{"q1": "a", "q2": "b"}', ", got a predictions file (id to answer); the dataset"),
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


# The shapes in which questions are published

LIBRARY = "솔개마을 도서관은 1987년 언덕 위에 문을 열었다. 첫 관장은 도예린이다."


def library(**changes: Any) -> list[dict[str, Any]]:
    """Two questions on LIBRARY, in SQuAD's form."""
    asked = [("언제 열었는가?", "1987년", 10), ("첫 관장은 누구인가?", "도예린", 36)]
    return [
        {
            "id": f"q{number}",
            "question": text,
            "answers": [{"text": answer, "answer_start": start}],
            **changes,
        }
        for number, (text, answer, start) in enumerate(asked)
    ]


def flat(**changes: Any) -> list[dict[str, Any]]:
    """The same, each with its context, as the datasets library has them."""
    return [
        {
            **item,
            "title": "t",
            "context": LIBRARY,
            "answers": {
                key: [answer[key] for answer in item["answers"]] for key in ("text", "answer_start")
            },
            **changes,
        }
        for item in library()
    ]


def answers_by_id(dataset: Dataset) -> dict[str, list[str]]:
    """The gold answers as the slices of their contexts."""
    return {
        found.qas_id: [paragraph.context[a.start : a.end] for a in found.answers if a.end]
        for paragraph, found in dataset.questions()
    }


def test_read_dataset_klue_mrc_guid_types_and_plausible_answers(tmp_path: Path) -> None:
    items = library(question_type=2, is_impossible=False)
    items.append(
        {
            "question": "지붕은 무슨 색인가?", "answers": [], "question_type": 3,
            "plausible_answers": [{"text": "언덕", "answer_start": 16}], "is_impossible": True,
        }
    )  # fmt: skip
    for number, item in enumerate(items):
        item["guid"] = f"mrc_{number}"
        item.pop("id", None)
    dataset = read(tmp_path, content(*items, context=LIBRARY, version="klue-mrc-v1.1"))
    assert dataset.problems == ()
    assert dataset.golds() == {"mrc_0": ["1987년"], "mrc_1": ["도예린"], "mrc_2": []}
    found = [(q.question_type, q.is_impossible) for _, q in dataset.questions()]
    assert found == [(2, False), (2, False), (3, True)]
    assert dataset.is_klue


@pytest.mark.parametrize("value", [None, "why", "2", 0, 4, True, 2.0])
def test_read_dataset_question_type_of_others_is_none(value: object, tmp_path: Path) -> None:
    dataset = read(tmp_path, content(*library(question_type=value), context=LIBRARY))
    assert [q.question_type for _, q in dataset.questions()] == [None, None]
    assert not dataset.is_klue


def test_read_dataset_integer_ids_are_texts(tmp_path: Path) -> None:
    dataset = read(tmp_path, content(question(qas_id=245000), question("245000")))  # type: ignore[arg-type]
    assert list(dataset.golds()) == ["245000"]
    assert kinds(dataset) == [("repeated_id", "245000")]


@pytest.mark.parametrize("missing", [{}, {"id": None}, {"id": None, "guid": None}])
def test_read_dataset_question_without_id_is_named_by_its_place(
    missing: dict[str, None], tmp_path: Path
) -> None:
    first = {key: value for key, value in question().items() if key != "id"} | missing
    dataset = read(tmp_path, content(first, question("q2")))
    assert list(dataset.golds()) == [Q, "q2"]
    assert kinds(dataset) == [("missing_id", Q)]


@pytest.mark.parametrize("title", [None, 3, ["t"]])
def test_read_dataset_title_that_is_no_text_is_none(title: object, tmp_path: Path) -> None:
    value = content(question())
    value["data"][0]["title"] = title
    dataset = read(tmp_path, value)
    assert (dataset.paragraphs[0].title, dataset.problems) == ("", ())


def test_read_dataset_other_names_and_single_answers(tmp_path: Path) -> None:
    items = library()
    for item in items:
        item["question_id"] = item.pop("id")
        (item["answers"],) = item["answers"]
        item["answers"] |= {"clue_text": LIBRARY, "options": None}
    value = content(*items, context=LIBRARY)
    value["data"][0] |= {"doc_id": 7, "doc_title": value["data"][0].pop("title")}
    dataset = read(tmp_path, value)
    assert answers_by_id(dataset) == {"q0": ["1987년"], "q1": ["도예린"]}
    assert (dataset.paragraphs[0].title, dataset.problems) == ("도서관", ())


@pytest.mark.parametrize(
    "form", ["data", "list", "lines", "articles", "lines of articles", "paragraphs"]
)
def test_read_dataset_without_articles_or_top_level_is_read(form: str, tmp_path: Path) -> None:
    items = content(*library(), context=LIBRARY)["data"] if "articles" in form else flat()
    if form == "paragraphs":
        items = [{"context": LIBRARY, "qas": library()}]
    if "lines" in form:
        text = "\n\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n"
    else:
        text = json.dumps({"version": "1.1", "data": items} if form == "data" else items)
    path = tmp_path / "data.json"
    path.write_text(text, encoding="utf-8")
    dataset = read_dataset(str(path))
    assert answers_by_id(dataset) == {"q0": ["1987년"], "q1": ["도예린"]}
    assert len(dataset.paragraphs) == 1  # neighbours share their context
    assert kinds(dataset) == [("unknown_version", None)] * (form != "data")


def test_read_dataset_flat_questions_may_have_no_answer(tmp_path: Path) -> None:
    nothing = {"text": [], "answer_start": []}
    items = flat(answers=nothing)
    dataset = read(tmp_path, {"version": "v2.0", "data": items})
    assert [q.is_impossible for _, q in dataset.questions()] == [True, True]
    dataset = read(tmp_path, items)  # as a test file that keeps them back
    assert dataset.problem_counts() == {"unknown_version": 1, "no_answers": 2}


HTML = "<h2>도서관</h2><p>첫 관장은 도예린이다.</p>"
KORQUAD_2 = {
    "title": "도서관", "url": "u", "raw_html": HTML, "context": HTML,
    "qas": [{"id": "1", "question": "누구?", "answer": {"text": "도예린", "answer_start": 26}}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"version": "KorQuAD_v2.1", "data": [KORQUAD_2]},
         "data[0] has its qas beside HTML, and an answer is an object: this is KorQuAD 2; expe"),
        ({"data": [{"context": "가", "qas": {}}]}, "data[0].qas must be a list, got an object."),
        ([{"id": "a", "prediction_text": "가"}],
         "got predictions (id, prediction_text); the dataset comes first."),
        ([{"context": None, "question": "?", "id": "a"}], "[0].context must be a string, got null"),
        ([{"context": "가", "question": None, "id": "a"}], "[0].question must be a string, got nu"),
        ([{"context": "가", "question": "?", "answers": {"text": ["가"], "answer_start": []}}],
         "[0].answers has 1 text and 0 answer_start (question '[0]'); each answer needs both."),
        ([{"context": "가", "question": "?", "answers": {"text": [3], "answer_start": [0]}}],
         "[0].answers[0].text must be a string, got an integer (question '[0]')."),
        ({"id": ["a"], "context": ["가"]}, "got an object of lists (id, context)."),
        ({"train": {}}, "got an object without data; found: train."),
    ],
)  # fmt: skip
def test_read_dataset_other_form_is_named(value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        read(tmp_path, value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "answers",
    [{"text": "", "answer_start": None}, {"text": None}, [{"text": "", "answer_start": -1}], None],
)
def test_read_dataset_impossible_question_may_have_an_empty_answer(
    answers: Any, tmp_path: Path
) -> None:
    item = {**question(is_impossible=True), "answers": answers}
    dataset = read(tmp_path, content(item))
    assert (dataset.golds(), dataset.problems) == ({"q1": []}, ())


@pytest.mark.parametrize("key", ["answer", "answer_text", "detected_answers"])
def test_read_dataset_answers_under_another_name_are_no_missing_ones(
    key: str, tmp_path: Path
) -> None:
    item = {"id": "q1", "question": "?", key: "도서관"}
    with pytest.raises(ValueError, match=r"qas\[0\]\.answers is missing .*; found: id, question, "):
        read(tmp_path, content(item))


@pytest.mark.parametrize("start", [3, 3.0, "3"])
def test_read_dataset_answer_start_as_number_or_digits(start: object, tmp_path: Path) -> None:
    dataset = read(tmp_path, content(question(answers=[("도서관", start)])))
    assert (only_question(dataset).answers, dataset.problems) == ((Gold("도서관", 3),), ())


@pytest.mark.parametrize("start", [None, 3.5, "3번째", "", math.nan, math.inf, [3], True, "9" * 99])
def test_read_dataset_answer_start_of_another_kind_is_named(start: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"answers\[0\]\.answer_start must be an integer, got "):
        read(tmp_path, content(question(answers=[("도서관", start)])))


# Forms of Unicode, white space and offsets


def decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def test_read_dataset_decomposed_context_has_composed_answers(tmp_path: Path) -> None:
    context = decomposed(LIBRARY)
    dataset = read(tmp_path, content(*library(), context=context))
    assert answers_by_id(dataset) == {"q0": [decomposed("1987년")], "q1": [decomposed("도예린")]}
    assert dataset.problem_counts() == {"offset_unit": 1, "answer_in_other_form": 2}
    # A reader that gives the slice is as right as one that gives the file's text.
    assert dataset.golds()["q1"] == ["도예린", decomposed("도예린")]


@pytest.mark.parametrize(
    ("context", "text", "start", "expected"),
    [
        (LIBRARY, decomposed("도예린"), 36, "도예린"),
        ("옛\u00a0다리 아래", "옛 다리", 0, "옛\u00a0다리"),
        ("큰  나무", "큰 나무", 0, "큰  나무"),
        ("큰\r\n나무", "큰\n나무", 0, "큰\r\n나무"),
        ("큰\u3000나무", "큰 나무", 0, "큰\u3000나무"),
        ("１９８７년", "1987년", 0, "１９８７년"),
        ("“돌”이다", '"돌"', 0, "“돌”"),
        ("돌\u200b다리", "돌다리", 0, "돌\u200b다리"),
        ("돌다리", "돌\ufeff다리", 0, "돌다리"),
        ("큰 나무. 큰\u00a0나무.", "큰 나무", 6, "큰\u00a0나무"),  # the one at its place
        ("큰 나무. 큰\u00a0나무.", "큰 나무", 1, "큰 나무"),  # the one as it is spelled
    ],
)
def test_read_dataset_answer_in_another_form_is_found(
    context: str, text: str, start: int, expected: str, tmp_path: Path
) -> None:
    dataset = read(tmp_path, content(question(answers=[(text, start)]), context=context))
    assert answers_by_id(dataset) == {"q1": [expected]}
    is_other = expected != text
    assert kinds(dataset) == [("answer_in_other_form" if is_other else "answer_moved", "q1")]
    assert dataset.golds()["q1"] == ([text, expected] if is_other else [text])


@pytest.mark.parametrize(
    ("unit", "encode"),
    [
        ("UTF-8 bytes", lambda text: len(text.encode())),
        ("CP949 bytes", lambda text: len(text.encode("cp949", "replace"))),
        ("characters from 1", lambda text: len(text) + 1),
        ("UTF-16 units", lambda text: len(text.encode("utf-16-le")) // 2),
        ("decomposed characters (NFD)", lambda text: len(decomposed(text))),
        ("characters with CR LF as one", lambda text: len(text.replace("\r\n", "\n"))),
        ("characters with each line end as CR LF", lambda t: len(t) + t.count("\n")),
    ],
)
def test_read_dataset_offsets_in_another_unit_are_named_and_converted(
    unit: str, encode: Callable[[str], int], tmp_path: Path
) -> None:
    end = "\r\n" if "as one" in unit else "\n"
    context = "\U0001f33e" * 3 + 2 * end + "책은 책장에 있고 책상에 없다. " * 3
    places = [m.start() for m in re.finditer("책", context)]
    items = [question(f"q{p}", [("책", encode(context[:p]))]) for p in places]
    dataset = read(tmp_path, content(*items, context=context))
    found = [asked.answers[0].start for _, asked in dataset.questions()]
    assert found == places
    assert kinds(dataset) == [("offset_unit", None)]
    assert dataset.problems[0].detail == f"answer_start counts {unit}"
