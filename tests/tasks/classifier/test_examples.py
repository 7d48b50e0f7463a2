"""Examples of every task: what is read, what is counted, what is refused."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bert_ko.tasks.classifier.examples import (
    Dataset,
    Example,
    read_dataset,
    read_texts,
    sort_labels,
)
from bert_ko.tasks.classifier.settings import FORMS, Kind, TaskName, table_form
from bert_ko.tasks.labelling import find_file

WriteFile = Callable[[str, str | bytes], str]

KLUE_TOPICS = ["IT과학", "경제", "사회", "생활문화", "세계", "스포츠", "정치"]
STS_HEADER = "genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2\n"
PAWS_HEADER = "id\tsentence1\tsentence2\tlabel\n"


def labels(dataset: Dataset) -> list[str | None]:
    return [example.label for example in dataset.examples]


def ynat_item(number: int, title: str, **more: Any) -> dict[str, Any]:
    return {
        "guid": f"ynat-v1_train_{number:05}",
        "title": title,
        "predefined_news_category": "사회",
        "label": "경제",
        "annotations": {"annotators": ["01", "02"], "annotations": {"first-scope": ["경제"]}},
        "url": "https://example.com",
        "date": "2020.01.01. 오전 9:00",
        **more,
    }


def test_read_dataset_nsmc_gives_literal_values(write_file: WriteFile) -> None:
    path = write_file(
        "ratings_train.txt",
        'id\tdocument\tlabel\n11\t"정말 좋다\t1\n12\t 지루하다 \t0\n13\t\t1\n',
    )
    assert read_dataset(path, FORMS["nsmc"], needs_labels=True) == Dataset(
        path=path,
        examples=(
            Example("11", '"정말 좋다', None, "1", None),
            Example("12", " 지루하다 ", None, "0", None),
            Example("13", "", None, "1", None),
        ),
        problems={"empty_text": [f"{path}:4: a text is empty"]},
    )


def test_read_dataset_ynat_csv_reads_the_topic(write_file: WriteFile) -> None:
    path = write_file(
        "train.csv", 'index,title,topic_idx,topic\n7,"비, 눈 온다",3,생활문화\n8,공 찬다,5,스포츠\n'
    )
    dataset = read_dataset(path, FORMS["ynat"], needs_labels=True)
    assert dataset.examples == (
        Example("7", "비, 눈 온다", label="생활문화"),
        Example("8", "공 찬다", label="스포츠"),
    )
    assert dataset.problems == {}


def test_read_dataset_ynat_index_is_named_by_the_file_beside(write_file: WriteFile) -> None:
    path = write_file("train.csv", "index,title,topic_idx\n7,비 온다,3\n8,공 찬다,5\n")
    assert labels(read_dataset(path, FORMS["ynat"], needs_labels=True)) == ["3", "5"]
    write_file("topic_dict.json", '{"5": "스포츠", "3": "생활문화"}')
    assert labels(read_dataset(path, FORMS["ynat"], needs_labels=True)) == ["생활문화", "스포츠"]
    write_file("topic_dict.json", '{"3": "생활문화"}')
    with pytest.raises(
        ValueError,
        match=r"train\.csv:3: topic_dict\.json does not name the label '5'; it names '3'\.",
    ):
        read_dataset(path, FORMS["ynat"], needs_labels=True)
    write_file("topic_dict.json", '{"3": 1}')
    with pytest.raises(ValueError, match=r"topic_dict\.json: '3' must be a string, got an int"):
        read_dataset(path, FORMS["ynat"], needs_labels=True)


def test_read_dataset_ynat_test_file_without_topics_has_no_labels(write_file: WriteFile) -> None:
    path = write_file("test.csv", "index,title\n7,비 온다\n")
    write_file("topic_dict.json", '{"3": "생활문화"}')
    dataset = read_dataset(path, FORMS["ynat"], needs_labels=False)
    assert dataset.examples == (Example("7", "비 온다"),)
    assert dataset.label_counts() == {}


def test_read_dataset_ynat_json_of_klue_reads_the_annotated_label(write_file: WriteFile) -> None:
    items = [ynat_item(0, "쌀값이 오른다"), ynat_item(1, '"쉬자"', label="생활문화")]
    path = write_file("ynat-v1.1_train.json", json.dumps(items, ensure_ascii=False))
    assert read_dataset(path, FORMS["ynat"], needs_labels=True).examples == (
        Example("ynat-v1_train_00000", "쌀값이 오른다", label="경제"),
        Example("ynat-v1_train_00001", '"쉬자"', label="생활문화"),
    )
    item = {key: value for key, value in items[0].items() if key != "label"}
    path = write_file("ynat-v1_dev.json", json.dumps([item]))
    assert labels(read_dataset(path, FORMS["ynat"], needs_labels=True)) == ["사회"]


def test_read_dataset_korsts_reads_scores_and_pairs(write_file: WriteFile) -> None:
    path = write_file(
        "sts-dev.tsv",
        f'{STS_HEADER}main-news\tMSRpar\t2012train\t0001\t4.200\t비가 "온다\t비가 내린다\n'
        "main-captions\timages\t2014\t0001\t0.000\t개가 뛴다\t산이 높다\n",
    )
    dataset = read_dataset(path, FORMS["korsts"], needs_labels=True)
    assert dataset.examples == (
        Example("2", '비가 "온다', "비가 내린다", None, 4.2),
        Example("3", "개가 뛴다", "산이 높다", None, 0.0),
    )
    assert dataset.problems == {}  # its column id repeats, and is no id
    assert dataset.label_counts() == {}


def test_read_dataset_korsts_score_out_of_range_is_counted_and_kept(
    write_file: WriteFile,
) -> None:
    rows = [f"g\tf\t2012\t1\t{score}\t비\t눈\n" for score in ("5.0", "5.1", "-0.2", "0")]
    path = write_file("sts-dev.tsv", STS_HEADER + "".join(rows))
    dataset = read_dataset(path, FORMS["korsts"], needs_labels=True)
    assert [example.score for example in dataset.examples] == [5.0, 5.1, -0.2, 0.0]
    assert dataset.problems == {
        "score_out_of_range": [
            f"{path}:3: 5.1 is not in 0..5; kept", f"{path}:4: -0.2 is not in 0..5; kept",
        ]
    }  # fmt: skip


STS_ITEMS = [
    {"guid": "sts-1", "source": "x", "sentence1": "비가 온다", "sentence2": "비가 내린다",
     "labels": {"label": 4.2, "real-label": 4.23, "binary-label": 1}},
    {"guid": "sts-2", "source": "x", "sentence1": "개가 뛴다", "sentence2": "산이 높다",
     "labels": {"label": 0.0, "real-label": 0.0, "binary-label": 0}},
]  # fmt: skip


def test_read_dataset_korsts_reads_the_nested_labels_of_klue(write_file: WriteFile) -> None:
    path = write_file("klue-sts-v1.1_dev.json", json.dumps(STS_ITEMS, ensure_ascii=False))
    assert find_file(os.path.dirname(path), FORMS["korsts"].files["dev"], "dev") == path
    assert read_dataset(path, FORMS["korsts"], needs_labels=True).examples == (
        Example("sts-1", "비가 온다", "비가 내린다", None, 4.2),
        Example("sts-2", "개가 뛴다", "산이 높다", None, 0.0),
    )


@pytest.mark.parametrize(
    ("column", "kind", "wanted"),
    [
        ("labels.label", "regression", [4.2, 0.0]),
        ("labels.real-label", "regression", [4.23, 0.0]),
        ("labels.binary-label", "classification", ["1", "0"]),
    ],
)
def test_read_dataset_path_names_the_label(
    column: str, kind: Kind, wanted: list[Any], write_file: WriteFile
) -> None:
    path = write_file("a.json", json.dumps(STS_ITEMS))
    form = table_form(kind, "sentence1", "sentence2", column, "guid")
    examples = read_dataset(path, form, needs_labels=True).examples
    assert [e.score if kind == "regression" else e.label for e in examples] == wanted


def test_read_dataset_column_of_objects_names_their_members(write_file: WriteFile) -> None:
    path = write_file("a.json", json.dumps(STS_ITEMS))
    for column, message in (
        ("labels", r"a\.json: \[0\]\.labels must be a string or a number, got an object; its "
                   r"members are 'labels\.label', 'labels\.real-label', .*: name one as the col"),
        ("labels.x", r"a\.json: no column 'labels\.x' for the label; found 'guid', .*"
                     r"'labels\.label', 'labels\.real-label', 'labels\.binary-label'\."),
    ):  # fmt: skip
        form = table_form("regression", "sentence1", "sentence2", column)
        with pytest.raises(ValueError, match=message):
            read_dataset(path, form, needs_labels=True)


def test_read_dataset_klue_nli_is_a_table_of_its_columns(write_file: WriteFile) -> None:
    items = [
        {"guid": f"nli-{n}", "genre": "x", "premise": "비가 온다", "hypothesis": "해가 난다",
         "gold_label": label, "author": label, "label2": "neutral"}
        for n, label in enumerate(("contradiction", "neutral"))
    ]  # fmt: skip
    path = write_file("klue-nli-v1.1_dev.json", json.dumps(items))
    form = table_form("classification", "premise", "hypothesis", "gold_label", "guid")
    dataset = read_dataset(path, form, needs_labels=True)
    assert dataset.label_counts() == {"contradiction": 1, "neutral": 1}
    assert dataset.examples[0].texts == ("비가 온다", "해가 난다")


@pytest.mark.parametrize("name", ["nsmc", "ynat", "paws"])
def test_read_dataset_known_task_needs_no_ids(name: TaskName, write_file: WriteFile) -> None:
    form = FORMS[name]
    columns = (*form.text_a[:1], *form.text_b[:1], form.label[0])
    path = write_file("a.tsv", "\t".join(columns) + "\n" + "\t".join("가" * len(columns)) + "\n")
    assert [e.example_id for e in read_dataset(path, form, needs_labels=True).examples] == ["2"]


def test_read_dataset_labels_that_are_almost_the_same_are_named(write_file: WriteFile) -> None:
    path = write_file("a.tsv", "text\tlabel\n봄\t1\n눈\t1.0\n비\t긍정\n해\tTrue\n달\ttrue\n")
    dataset = read_dataset(path, table_form(), needs_labels=True)
    assert dataset.problems == {
        "similar_labels": [
            f"{path}:3: '1.0', but '1' before ({path}:2); they are two labels",
            f"{path}:6: 'true', but 'True' before ({path}:5); they are two labels",
        ]
    }


def test_read_dataset_quotes_of_labels_are_named(write_file: WriteFile) -> None:
    path = write_file("a.csv", 'text, label\n봄, "1"\n눈, 1\n')
    assert read_dataset(path, table_form(), needs_labels=True).problems == {
        "quoted_label": [f'{path}:2: the quotes of "1" are part of the label'],
        "similar_labels": [f"{path}:3: '1', but '\"1\"' before ({path}:2); they are two labels"],
    }


def test_read_dataset_names_of_columns_again_are_no_example(write_file: WriteFile) -> None:
    path = write_file("a.csv", "text,label\n봄,1\ntext,label\n눈,0\n")
    dataset = read_dataset(path, table_form(), needs_labels=True)
    assert labels(dataset) == ["1", "0"]
    assert dataset.problems == {
        "repeated_header": [f"{path}:3 names the columns again and is skipped"]
    }


@pytest.mark.parametrize("label", ["NaN", "Infinity"])
def test_read_dataset_label_that_is_no_number_is_refused(label: str, write_file: WriteFile) -> None:
    path = write_file("a.jsonl", f'{{"text": "봄", "label": {label}}}\n')
    with pytest.raises(ValueError, match=rf"a\.jsonl:1: {label} is no label \(column 'label'\)"):
        read_dataset(path, table_form(), needs_labels=True)


def test_read_dataset_table_without_names_says_what_its_first_line_has(
    write_file: WriteFile,
) -> None:
    path = write_file("a.tsv", "봄이 온다\t1\n눈이 온다\t0\n")
    with pytest.raises(
        ValueError, match=r"no column 'label' .*; the first line has '봄이 온다', '1'"
    ):
        read_dataset(path, table_form(), needs_labels=True)


def test_read_dataset_paws_untranslated_rows_are_left_out_and_counted(
    write_file: WriteFile,
) -> None:
    path = write_file(
        "dev_2k.tsv",
        f"{PAWS_HEADER}1\t강은 산을 지난다\t산은 강을 지난다\t0\n2\tNS\t강이 흐른다\t1\n"
        "3\t강이 흐른다\tNS \t0\n4\tNS 역은 크다\t역은 크다\t1\n5\t역이다\t\t1\n",
    )
    dataset = read_dataset(path, FORMS["paws"], needs_labels=True)
    assert dataset.examples == (
        Example("1", "강은 산을 지난다", "산은 강을 지난다", "0"),
        Example("4", "NS 역은 크다", "역은 크다", "1"),
        Example("5", "역이다", "", "1"),
    )
    assert dataset.problems == {
        "untranslated": [f"{path}:{line}: 'NS' for a text; left out" for line in (3, 4)],
        "empty_text": [f"{path}:6: a text is empty"],
    }


def test_read_dataset_paws_of_untranslated_rows_only_is_refused(write_file: WriteFile) -> None:
    path = write_file("dev_2k.tsv", f"{PAWS_HEADER}2\tNS\t강이 흐른다\t1\n")
    with pytest.raises(ValueError, match=r"dev_2k\.tsv has no example: a text of each is 'NS'\."):
        read_dataset(path, FORMS["paws"], needs_labels=True)


def test_read_dataset_placeholder_of_another_task_is_a_text(write_file: WriteFile) -> None:
    path = write_file("a.tsv", "text\tlabel\nNS\t1\n")
    dataset = read_dataset(path, FORMS["tsv"], needs_labels=True)
    assert (dataset.examples, dataset.problems) == ((Example("2", "NS", label="1"),), {})


@pytest.mark.parametrize(
    ("name", "content", "places"),
    [
        ("a.tsv", "번호\t글\t짝\t뜻\nㄱ\t봄\t눈\t예\nㄴ\t비\t해\t아니오\n", ["2", "3"]),
        ("a.csv", "뜻,번호,글,짝\n예,ㄱ,봄,눈\n아니오,ㄴ,비,해\n", ["2", "3"]),
        (
            "a.jsonl",
            '{"글": "봄", "짝": "눈", "뜻": "예", "번호": "ㄱ"}\n'
            '{"번호": "ㄴ", "글": "비", "짝": "해", "뜻": "아니오"}\n',
            ["1", "2"],
        ),
        (
            "a.json",
            '{"data": [{"글": "봄", "짝": "눈", "뜻": "예", "번호": "ㄱ"},'
            '{"글": "비", "짝": "해", "뜻": "아니오", "번호": "ㄴ"}]}',
            ["0", "1"],
        ),
    ],
)
def test_read_dataset_own_columns_of_every_format(
    name: str, content: str, places: list[str], write_file: WriteFile
) -> None:
    path = write_file(name, content)
    form = table_form("classification", "글", "짝", "뜻", "번호")
    wanted = (Example("ㄱ", "봄", "눈", "예"), Example("ㄴ", "비", "해", "아니오"))
    assert read_dataset(path, form, needs_labels=True).examples == wanted
    form = table_form("classification", "글", None, "뜻")
    examples = read_dataset(path, form, needs_labels=True).examples
    assert [example.example_id for example in examples] == places
    assert [example.text_b for example in examples] == [None, None]


def test_read_dataset_repeated_ids_and_blank_lines_are_counted(write_file: WriteFile) -> None:
    path = write_file("a.tsv", "id\tdocument\tlabel\n1\t봄\t0\n\n1\t눈\t0\n1\t해\t0\n")
    dataset = read_dataset(path, FORMS["nsmc"], needs_labels=True)
    assert [example.text_a for example in dataset.examples] == ["봄", "눈", "해"]
    assert dataset.problems == {
        "blank_line": [f"{path}:3 is empty and skipped"],
        "repeated_id": [f"{path}:{line}: the id '1' again; both are kept" for line in (4, 5)],
    }


def test_read_dataset_empty_id_is_the_place(write_file: WriteFile) -> None:
    path = write_file("a.tsv", "id\tdocument\tlabel\n\t봄\t0\n 9 \t비\t1\n \t눈\t0\n")
    dataset = read_dataset(path, FORMS["nsmc"], needs_labels=True)
    assert [example.example_id for example in dataset.examples] == ["2", "9", "4"]


@pytest.mark.parametrize("empty", ["", "  ", "\u3000"])
def test_read_dataset_empty_text_is_counted_and_kept(empty: str, write_file: WriteFile) -> None:
    path = write_file("a.tsv", f"{PAWS_HEADER}1\t{empty}\t눈\t0\n2\t눈\t{empty}\t0\n")
    dataset = read_dataset(path, FORMS["paws"], needs_labels=True)
    assert dataset.problems == {
        "empty_text": [f"{path}:{line}: a text is empty" for line in (2, 3)]
    }
    assert dataset.examples == (Example("1", empty, "눈", "0"), Example("2", "눈", empty, "0"))


@pytest.mark.parametrize("cell", ["", "  ", "\r"])
def test_read_dataset_empty_label_is_unknown_only_where_none_is_needed(
    cell: str, write_file: WriteFile
) -> None:
    path = write_file("a.tsv", f"text\tlabel\n봄\t1\n눈\t{cell}\n")
    dataset = read_dataset(path, table_form(), needs_labels=False)
    assert labels(dataset) == ["1", None]
    assert dataset.label_counts() == {"1": 1}
    with pytest.raises(ValueError, match=r"a\.tsv:3: no label \(column 'label'\)\."):
        read_dataset(path, table_form(), needs_labels=True)
    dataset = read_dataset(path, table_form("regression"), needs_labels=False)
    assert [example.score for example in dataset.examples] == [1.0, None]
    with pytest.raises(ValueError, match=r"a\.tsv:3: a score .* a finite number, got nothing\."):
        read_dataset(path, table_form("regression"), needs_labels=True)


def test_read_dataset_labels_of_json_become_text(write_file: WriteFile) -> None:
    items: list[Any] = [1, True, 0.5, " 예 ", "1", None]
    path = write_file("a.json", json.dumps([{"text": "봄", "label": item} for item in items]))
    dataset = read_dataset(path, table_form(), needs_labels=False)
    assert labels(dataset) == ["1", "true", "0.5", "예", "1", None]
    with pytest.raises(ValueError, match=r"a\.json: \[5\]: no label \(column 'label'\)\."):
        read_dataset(path, table_form(), needs_labels=True)


def test_read_dataset_scores_of_json_are_numbers_or_text(write_file: WriteFile) -> None:
    items: list[Any] = [1, 2.5, "3.5", "-1e-3"]
    path = write_file("a.json", json.dumps([{"text": "봄", "label": item} for item in items]))
    dataset = read_dataset(path, table_form("regression"), needs_labels=True)
    assert [example.score for example in dataset.examples] == [1.0, 2.5, 3.5, -0.001]
    assert labels(dataset) == [None] * 4


@pytest.mark.parametrize(
    "score", ["NaN", "Infinity", "true", '"세 점"', '"nan"', "1e999", "9" * 400, '"1_0"', '"4,2"']
)
@pytest.mark.parametrize("needs_labels", [True, False])
def test_read_dataset_score_that_is_no_number_is_refused(
    score: str, needs_labels: bool, write_file: WriteFile
) -> None:
    lines = ['{"text": "봄", "label": 1}', f'{{"text": "눈", "label": {score}}}']
    path = write_file("a.jsonl", "\n".join(lines))
    message = r"a\.jsonl:2: a score \(column 'label'\) must be a finite number, got '"
    with pytest.raises(ValueError, match=message):
        read_dataset(path, table_form("regression"), needs_labels=needs_labels)


REFUSED = [
    ('[{"text": 1, "label": "a"}]', r": \[0\]\.text must be a string, got an integer\."),
    ('[{"text": "봄", "label": "a"}, {"label": "a"}]', r": \[1\]\.text must be a string, got null"),
    ('[{"text": "봄", "label": ["a"]}]', r": \[0\]\.label must be a string or a number, got a li"),
    ('[{"text": "봄"}]', r": no column 'label' for the label; found 'text'\. The task tsv"),
    ('[{"label": "a"}]', r": no column 'text' for the text; found 'label'\. The task tsv"),
    ("[{}]", r"found nothing\."),
]


@pytest.mark.parametrize(("content", "message"), REFUSED, ids=range(len(REFUSED)))
def test_read_dataset_bad_json_is_refused_with_its_place(
    content: str, message: str, write_file: WriteFile
) -> None:
    with pytest.raises(ValueError, match=message):
        read_dataset(write_file("a.json", content), table_form(), needs_labels=True)


def test_read_dataset_missing_columns_are_named_with_those_there_are(
    write_file: WriteFile,
) -> None:
    path = write_file("a.tsv", "번호\t글\t뜻\n1\t봄\t예\n")
    there = "the first line has '번호', '글', '뜻'. The task tsv takes any columns: --text_column, "
    for form, column in (
        (FORMS["nsmc"], "'label' for the label"),
        (FORMS["ynat"], "'label' or 'topic' or 'predefined_news_category' or 'topic_idx' for the"),
        (table_form("classification", "글", "짝", "뜻"), "'짝' for the second text"),
        (table_form("classification", "글월", None, "뜻"), "'글월' for the text"),
        (table_form("classification", "글", None, "뜻", "이름"), "'이름' for the id"),
    ):
        with pytest.raises(ValueError) as caught:
            read_dataset(path, form, needs_labels=True)
        assert f"{path}: no column {column}" in str(caught.value)
        assert there in str(caught.value)


@pytest.mark.parametrize(
    ("given", "ordered"),
    [
        (["1", "0", "1"], ["0", "1"]),
        (["10", "9", "2"], ["2", "9", "10"]),
        (["10", "9", "-"], ["-", "10", "9"]),
        (["-1", "0", "10", "9"], ["-1", "0", "10", "9"]),
        (list(reversed(KLUE_TOPICS)), KLUE_TOPICS),
        ([], []),
    ],
)
def test_sort_labels_orders_whole_numbers_by_value(given: list[str], ordered: list[str]) -> None:
    assert sort_labels(given) == ordered


def test_label_counts_are_sorted(write_file: WriteFile) -> None:
    path = write_file("a.tsv", "text\tlabel\n봄\t10\n눈\t9\n비\t10\n해\t10\n")
    dataset = read_dataset(path, table_form(), needs_labels=True)
    assert list(dataset.label_counts().items()) == [("9", 1), ("10", 3)]


def test_read_texts_lines_are_texts_or_pairs(write_file: WriteFile) -> None:
    path = write_file("a", "\ufeff봄이 온다\r\n\n 눈\u2028비 ".encode())
    assert read_texts(path, is_pair=False) == (
        Example("1", "봄이 온다"), Example("2", ""), Example("3", " 눈\u2028비 "),
    )  # fmt: skip
    path = write_file("b", "봄\t\n눈\t비\n")
    assert read_texts(path, is_pair=True) == (Example("1", "봄", ""), Example("2", "눈", "비"))


@pytest.mark.parametrize(
    ("content", "is_pair", "message"),
    [
        ("봄\n눈\t비\n", False, r":2: expected one text with a tab between two, got 2\."),
        ("봄\t해\n눈\n", True, r":2: expected two texts with a tab between two, got 1\."),
        ("", True, r"a\.txt is empty; expected a text a line\."),
    ],
)
def test_read_texts_wrong_number_is_refused_with_its_line(
    content: str, is_pair: bool, message: str, write_file: WriteFile
) -> None:
    with pytest.raises(ValueError, match=message):
        read_texts(write_file("a.txt", content), is_pair=is_pair)


def test_read_texts_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO("봄\t눈\n".encode())))
    assert read_texts("-", is_pair=True) == (Example("1", "봄", "눈"),)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"a\n\xb0\xa1\n")))
    with pytest.raises(ValueError, match=r"^standard input: not UTF-8 text but CP949; "):
        read_texts("-", is_pair=False)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO()))
    with pytest.raises(ValueError, match=r"^standard input is empty"):
        read_texts("-", is_pair=False)


@pytest.mark.slow
@pytest.mark.parametrize(("split", "count"), [("train", 150_000), ("dev", 10_000)])
def test_read_dataset_real_nsmc_has_all_rows(split: Any, count: int, data_folder: Path) -> None:
    path = find_file(str(data_folder / "nsmc"), FORMS["nsmc"].files[split], split)
    dataset = read_dataset(path, FORMS["nsmc"], needs_labels=True)
    assert len(dataset.examples) == count
    assert dataset.problems == {}
    counts = dataset.label_counts()
    assert list(counts) == ["0", "1"]
    assert sum(counts.values()) == count


@pytest.mark.slow
@pytest.mark.parametrize(("split", "count"), [("train", 41_154), ("dev", 4_500)])
def test_read_dataset_real_ynat_has_all_rows_and_topics(
    split: Any, count: int, data_folder: Path
) -> None:
    path = find_file(str(data_folder / "ynat"), FORMS["ynat"].files[split], split)
    dataset = read_dataset(path, FORMS["ynat"], needs_labels=True)
    assert len(dataset.examples) == count
    assert dataset.problems == {}
    assert list(dataset.label_counts()) == KLUE_TOPICS


def test_read_dataset_real_ynat_index_gives_the_same_topics(data_folder: Path) -> None:
    path = str(data_folder / "ynat" / "dev.csv")
    form = table_form("classification", "title", None, "topic_idx")
    names = json.loads((data_folder / "ynat" / "topic_dict.json").read_text(encoding="utf-8"))
    by_index = labels(read_dataset(path, form, needs_labels=True))
    by_name = labels(read_dataset(path, FORMS["ynat"], needs_labels=True))
    assert [names[label] for label in by_index] == by_name
