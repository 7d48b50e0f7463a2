"""Tables of groups of examples."""

from bert_ko.report.groups import group_tables, length_name, length_names
from bert_ko.report.languages import Texts

BOUNDS = (250, 500, 1000)


def test_length_name_is_a_range_of_characters() -> None:
    names = [length_name(size, BOUNDS) for size in (0, 250, 251, 1000, 1001)]
    assert names == ["1–250", "1–250", "251–500", "501–1000", "1001+"]
    assert length_names(BOUNDS) == ("1–250", "251–500", "501–1000", "1001+")


def test_group_tables_an_example_may_be_in_several_groups() -> None:
    titles = ("Accuracy by length of the text", "Characters", "Examples")
    groups = [["가"], ["가", "나"], ["나"], []]
    scores = {"Accuracy": [100.0, 50.0, 0.0, 7.0]}
    (table,) = group_tables(Texts("ko"), titles, groups, scores, ("나", "다", "가"))
    assert table.caption == "글 길이별 정확도"
    assert list(table.headers) == ["글자 수", "정확도", "예문"]
    shown = [[cell if isinstance(cell, str) else cell.text for cell in row] for row in table.rows]
    assert shown == [["나", "25.00", "2"], ["가", "75.00", "2"]]
    assert group_tables(Texts("en"), titles, [], {"Accuracy": []}, ("가",)) == []
