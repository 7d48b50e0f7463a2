"""Tables: which rows and lines are read from which bytes, and what is refused where."""

import csv
import gzip
import io
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.tasks.classifier.tables import Table, read_table

WriteFile = Callable[[str, str | bytes], str]

TSV = "id\ttext\nㄱ\t봄이 온다\nㄴ\t눈이 온다\n"
CSV = "id,text\nㄱ,봄이 온다\nㄴ,눈이 온다\n"
JSONL = '{"id": "ㄱ", "text": "봄이 온다"}\n{"id": "ㄴ", "text": "눈이 온다"}\n'
JSON = '[{"id": "ㄱ", "text": "봄이 온다"},\n {"id": "ㄴ", "text": "눈이 온다"}]'
ROWS = [["ㄱ", "봄이 온다"], ["ㄴ", "눈이 온다"]]


def rows(table: Table) -> list[list[object]]:
    return [list(row) for row in table.rows]


@pytest.mark.parametrize(
    ("name", "content", "first", "second"),
    [
        ("a.tsv", TSV, "a.tsv:2", "a.tsv:3"),
        ("a.txt", TSV, "a.txt:2", "a.txt:3"),
        ("a.TSV", TSV, "a.TSV:2", "a.TSV:3"),
        ("a.csv", CSV, "a.csv:2", "a.csv:3"),
        ("a.jsonl", JSONL, "a.jsonl:1", "a.jsonl:2"),
        ("a.json", JSON, "a.json: [0]", "a.json: [1]"),
        ("a.json", f'{{"version": "1", "data": {JSON}}}', "a.json: data[0]", "a.json: data[1]"),
    ],
)
def test_read_table_every_extension_gives_the_same_rows(
    name: str, content: str, first: str, second: str, write_file: WriteFile
) -> None:
    table = read_table(write_file(name, content))
    assert table.columns == ("id", "text")
    assert rows(table) == ROWS
    assert table.where(0).endswith(f"/{first}")
    assert table.where(1).endswith(f"/{second}")


@pytest.mark.parametrize(("name", "content"), [("a.tsv", TSV), ("a.csv", CSV), ("a.jsonl", JSONL)])
@pytest.mark.parametrize("change", ["bom", "crlf", "no_final_line_break", "bom_crlf"])
def test_read_table_bytes_of_other_systems_change_nothing(
    name: str, content: str, change: str, write_file: WriteFile
) -> None:
    data = content.encode()
    if "crlf" in change:
        data = data.replace(b"\n", b"\r\n")
    if "bom" in change:
        data = b"\xef\xbb\xbf" + data
    if "final" in change:
        data = data.removesuffix(b"\n")
    table = read_table(write_file(name, data))
    assert (table.columns, rows(table)) == (("id", "text"), ROWS)


def test_read_table_compressed_is_read_by_its_inner_extension(write_file: WriteFile) -> None:
    assert rows(read_table(write_file("a.csv.gz", gzip.compress(CSV.encode())))) == ROWS


@pytest.mark.parametrize(
    "content",
    [
        'id\ttext\n1\t"봄\n2\t"눈"이 "온다\n',
        'id\ttext\n1\t"봄"\n2\t"눈" 온다\n',
        'id\ttext\n1\t"봄이 온다"\n',  # nothing in it needs quotes
        'id\ttext\n1\t"봄, 눈"\n2\t눈, 비\n',
        'id\ttext\n1\t"봄 ""눈"""\n2\t"눈\n',
    ],
)
def test_read_table_quotes_of_tsv_are_plain_characters(content: str, write_file: WriteFile) -> None:
    table = read_table(write_file("a.tsv", content))
    assert rows(table) == [line.split("\t") for line in content.splitlines()[1:]]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (
            'id\ttext\n1\t"그가 ""봄""이라"\n2\t눈\n',
            [["1", '그가 "봄"이라'], ["2", "눈"]],
        ),  # pandas
        ('id\ttext\n1\t"봄\n눈"\n', [["1", "봄\n눈"]]),
        ('id\ttext\n1\t"봄, 눈"\n2\t비\n', [["1", "봄, 눈"], ["2", "비"]]),  # Excel
        ('"id"\t"text"\n"1"\t"봄"\n', [["1", "봄"]]),
        ('"id"\t"text"\n1\t"봄\t눈"\n', [["1", "봄\t눈"]]),  # all but numbers
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["a.tsv", "a.txt"])
def test_read_table_quotes_of_tsv_are_removed_where_a_program_wrote_them(
    content: str, found: list[list[str]], end: str, name: str, write_file: WriteFile
) -> None:
    assert rows(read_table(write_file(name, content.replace("\n", end)))) == found


def test_read_table_quoted_tsv_keeps_numbers_of_lines(write_file: WriteFile) -> None:
    table = read_table(write_file("a.tsv", 'id\ttext\n1\t"봄\n눈"\n\n2\t비\n'))
    assert (list(table.lines), table.blank_lines) == ([2, 5], (4,))


@pytest.mark.parametrize(("name", "content"), [("a.tsv", TSV), ("a.csv", CSV), ("a.jsonl", JSONL)])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig", "utf-32"])
def test_read_table_of_other_encodings_gives_the_same_rows(
    name: str, content: str, encoding: str, write_file: WriteFile
) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    table = read_table(write_file(name, (mark + content).encode(encoding)))
    assert (table.columns, rows(table)) == (("id", "text"), ROWS)


def test_read_table_cp949_is_read_where_it_is_named(write_file: WriteFile) -> None:
    assert rows(read_table(write_file("a.csv", CSV.encode("cp949")), "cp949")) == ROWS


@pytest.mark.parametrize(("name", "content"), [("a.tsv", TSV), ("a.csv", CSV), ("a.jsonl", JSONL)])
def test_read_table_lines_end_in_a_return_too(
    name: str, content: str, write_file: WriteFile
) -> None:
    table = read_table(write_file(name, content.replace("\n", "\r")))
    assert (table.columns, rows(table)) == (("id", "text"), ROWS)


@pytest.mark.parametrize(("name", "content"), [("a.tsv", TSV), ("a.csv", CSV)])
def test_read_table_doubled_returns_end_one_line(
    name: str, content: str, write_file: WriteFile
) -> None:
    table = read_table(write_file(name, content.replace("\n", "\r\r\n")))
    assert (rows(table), list(table.lines), table.blank_lines) == (ROWS, [2, 3], ())


def test_read_table_decomposed_names_of_columns_are_found(write_file: WriteFile) -> None:
    content = unicodedata.normalize("NFD", "번호\t라벨\n") + "1\t봄\n"
    assert read_table(write_file("a.tsv", content)).cells("라벨") == ["봄"]


def test_read_table_return_inside_quotes_is_a_character(write_file: WriteFile) -> None:
    table = read_table(write_file("a.csv", 'id,text\r1,"봄\r눈"\r2,비\r'))
    assert rows(table) == [["1", "봄\r눈"], ["2", "비"]]
    assert list(table.lines) == [2, 4]


@pytest.mark.parametrize("again", ["id\ttext\n", "\ufeffid\ttext \n"])
def test_read_table_names_of_columns_in_the_middle_are_no_row(
    again: str, write_file: WriteFile
) -> None:
    table = read_table(write_file("a.tsv", f"{TSV}{again}ㄷ\t비\n"))
    assert rows(table) == [*ROWS, ["ㄷ", "비"]]
    assert table.repeated_headers == (4,)


def test_read_table_json_lines_and_lists_may_change_names(write_file: WriteFile) -> None:
    assert rows(read_table(write_file("a.json", JSONL))) == ROWS
    assert rows(read_table(write_file("b.jsonl", JSON))) == ROWS


def test_cells_path_names_a_member(write_file: WriteFile) -> None:
    content = '{"id": 1, "a": {"b": {"c": 2}, "b.d": 3}, "a.e": 4}\n{"a": {"b": 5}}\n{"a": null}\n'
    table = read_table(write_file("a.jsonl", content))
    assert table.names() == ["id", "a.b", "a.b.d", "a.e"]
    assert table.cells("a.b.c") == [2, None, None]
    assert table.cells("a.e") == [4, None, None]  # a column's own name comes first
    assert [table.has(name) for name in ("a", "a.b", "a.b.c", "a.x", "id.b", "x", "x.y")] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip


def test_read_table_quotes_of_csv_hold_commas_breaks_and_quotes(write_file: WriteFile) -> None:
    table = read_table(write_file("a.csv", '"id",text\n1,"봄,\n""눈"""\n\n2,30" 화면\n'))
    assert rows(table) == [["1", '봄,\n"눈"'], ["2", '30" 화면']]
    assert list(table.lines) == [2, 5]
    assert table.blank_lines == (4,)


@pytest.mark.parametrize(
    "text",
    ["봄\u2028눈", "봄\x85눈", "봄\x0b눈\x0c비\x1c해", "봄\x00눈", "가" * 200_000],
    ids=["U+2028", "U+0085", "others", "NUL", "long"],
)
@pytest.mark.parametrize(
    ("name", "form"), [("a.tsv", "id\ttext\n1\t{}\n"), ("a.csv", "id,text\n1,{}\n")]
)
def test_read_table_odd_characters_stay_in_their_cell(
    text: str, name: str, form: str, write_file: WriteFile
) -> None:
    assert rows(read_table(write_file(name, form.format(text)))) == [["1", text]]


def test_read_table_jsonl_line_separator_stays_in_its_cell(write_file: WriteFile) -> None:
    assert rows(read_table(write_file("a.jsonl", '{"text": "봄\u2028눈"}\n'))) == [["봄\u2028눈"]]


def test_read_table_blank_lines_between_rows_are_passed_over_and_told(
    write_file: WriteFile,
) -> None:
    for name, content in (("a.tsv", "a\tb\n\n1\t2\n\n"), ("a.csv", "a,b\n\n1,2\n\n")):
        table = read_table(write_file(name, content))
        assert (rows(table), list(table.lines)) == ([["1", "2"]], [3])
        assert table.blank_lines == (2, 4)
    table = read_table(write_file("a.jsonl", '\n{"a": 1}\n  \n{"a": 2}\n'))
    assert (rows(table), list(table.lines), table.blank_lines) == ([[1], [2]], [2, 4], (1, 3))


@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_read_table_blank_line_of_a_single_column_is_a_row(
    name: str, write_file: WriteFile
) -> None:
    table = read_table(write_file(name, "text\n봄\n\n눈\n"))
    assert rows(table) == [["봄"], [""], ["눈"]]
    assert (list(table.lines), table.blank_lines) == ([2, 3, 4], ())


def test_read_table_json_keys_of_all_objects_are_columns(write_file: WriteFile) -> None:
    table = read_table(write_file("a.json", '[{"a": "1"}, {"b": null, "a": 2}]'))
    assert table.columns == ("a", "b")
    assert rows(table) == [["1", None], [2, None]]


def test_read_table_blanks_around_names_of_columns_are_ignored(write_file: WriteFile) -> None:
    table = read_table(write_file("a.csv", "id, text \n1, 봄 \n"))
    assert (table.columns, rows(table)) == (("id", "text"), [["1", " 봄 "]])


def test_cells_name_of_two_columns_is_refused(write_file: WriteFile) -> None:
    table = read_table(write_file("a.csv", "id,text,text\n1,봄,눈\n"))
    assert table.cells("id") == ["1"]
    with pytest.raises(ValueError, match=r"a\.csv: two columns have the name 'text'\."):
        table.cells("text")


REFUSED = [
    ("a.xlsx", "a", r"a\.xlsx: the name of a table must end in \.tsv, .*, got '\.xlsx'\."),
    ("a.xlsx", b"PK\x03\x04 [Content_Types].xml xl/workbook.xml",
     r"a\.xlsx: an Excel workbook \(xlsx\), not text; "),
    ("a.csv", b"PK\x03\x04 [Content_Types].xml xl/workbook.xml",
     r"a\.csv: an Excel workbook \(xlsx\), not text; "),
    ("a", "a", r"must end in \.tsv, .*\.csv, .*\.json, got ''\."),
    ("a.csv", "id\ttext\n1\t봄\n", r"a\.csv: tabs separate its cells, not commas; name it \.tsv\."),
    ("a.csv", "id;text\n1;봄, 눈\n", r"a\.csv: semicolons separate its cells, not commas; save it"),
    ("a.tsv", 'id,text\n1,"봄"\n', r"a\.tsv: commas separate its cells, not tabs; name it \.csv"),
    ("a.txt", "id|text\n1|봄\n", r"a\.txt: vertical bars separate its cells, not tabs; save it"),
    ("a.csv", JSONL, r"a\.csv: JSON, not a table; name it \.jsonl, or \.json if it is a list\."),
    ("a.tsv", JSON, r"a\.tsv: JSON, not a table"),
    ("a.csv", "id;text", r"a\.csv: semicolons separate its cells"),
    ("a.tsv", "", r"a\.tsv is empty; expected a line with the names of the columns\."),
    ("a.csv", "", r"a\.csv is empty; expected a line with the names of the columns\."),
    ("a.json", "", r"a\.json is empty; expected JSON\."),
    ("a.jsonl", "", r"a\.jsonl has no example\."),
    ("a.jsonl", "\n \n", r"a\.jsonl has no example\."),
    ("a.json", "[]", r"a\.json has no example\."),
    ("a.json", '{"data": []}', r"a\.json has no example\."),
    ("a.tsv", "\n1\t2\n", r"a\.tsv:1: expected the names of the columns, got an empty line\."),
    ("a.csv", "\n1,2\n", r"a\.csv:1: expected the names of the columns, got an empty line\."),
    ("a.tsv", "id\ttext\n", r"a\.tsv has no example, only a header\."),
    ("a.csv", "id,text", r"a\.csv has no example, only a header\."),
    ("a.tsv", "a\tb\n\n", r"a\.tsv has no example, only a header\."),
    ("a.tsv", "id\ttext\n1\t봄\n\n2\t눈\t비\n3\n",
     r"a\.tsv:4: expected 2 cells with tabs between them \('id', 'text'\), got 3\."),
    ("a.tsv", "id\ttext\n1\t봄\n3\n", r"a\.tsv:3: expected 2 cells .*, got 1\."),
    ("a.csv", 'id,text\n1,"봄\n눈"\n2,눈,비\n', r"a\.csv:4: expected 2 cells with commas .* 3\."),
    ("a.csv", 'id,text\n1,봄\n2,"눈\n3,비\n4,해\n',
     r"a\.csv:3: not CSV: a quote opens a cell and is not closed\. A cell with a comma, "),
    ("a.csv", 'id,text\n1,"봄\n2,눈"비"\n', r"a\.csv:2: not CSV: a quote opens a cell and is not"),
    ("a.csv", 'id,text\n1,"봄\n2,눈\n3,비"\n', r"a\.csv:2: not CSV: a quote opens a cell and is"),
    ("a.tsv", "id\ttext\n1\t봄\n2\t눈\n".encode("cp949"),
     r"a\.tsv: not UTF-8 text but CP949; give --input_encoding=cp949,"),
    ("a.csv", "id,text\n1,a\n2,눈\n".encode("cp949"), r"a\.csv: not UTF-8 text but CP949; "),
    ("a.json", '["봄"]'.encode("cp949"), r"a\.json: not UTF-8 text but CP949"),
    ("a.jsonl", '{"text": "봄"}'.encode("cp949"), r"a\.jsonl: not UTF-8 text but CP949"),
    ("a.jsonl", '{"a": 1}\n{"a": 1\n', r"a\.jsonl:2: not JSON: "),
    ("a.jsonl", "[" * 100_000, r"a\.jsonl: .* nested too deeply\."),
    ("a.jsonl", '{"a": 1}\n{"a": ' + "[" * 100_000, r"a\.jsonl:2: its JSON is nested too deeply\."),
    ("a.json", "[" * 3000 + "]" * 3000, r"a\.json: (?:.* too deeply|\[0\] must be an)"),
    ("a.jsonl", '{"a": 1}\n[1]\n', r"a\.jsonl:2 must be an object, got a list\."),
    ("a.json", '[{"a": 1}, 2]', r"a\.json: \[1\] must be an object, got an integer\."),
    ("a.json", '"봄"', r"a\.json: top level must be a list, got a string\."),
    ("a.json", '{"data": {}}', r"a\.json: data must be a list, got an object\."),
    ("a.json", '{"rows": []}', r'expected a list, or an object with one as "data"; .* \'rows\'\.'),
    ("a.json", "{}", r"found an object with nothing\."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), REFUSED, ids=range(len(REFUSED)))
def test_read_table_bad_file_is_refused_with_its_place(
    name: str, content: str | bytes, message: str, write_file: WriteFile
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_table(write_file(name, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.json", "a.jsonl"])
def test_read_table_missing_file_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_table(str(tmp_path / name))


def test_read_table_many_long_columns_make_a_short_message(write_file: WriteFile) -> None:
    header = "\t".join(f"{'가' * 50}{number}" for number in range(20))
    with pytest.raises(ValueError, match=r"expected 20 cells .* and 12 more\), got 1\.") as caught:
        read_table(write_file("a.tsv", f"{header}\n1\n"))
    assert f"'{'가' * 30}'" in str(caught.value)


cells = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
tables = st.integers(2, 4).flatmap(
    lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=5)
)


@pytest.mark.slow
@given(content=tables)
def test_read_table_csv_of_any_cells_comes_back(
    content: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any_cells.csv"
    columns = [f"c{number}" for number in range(len(content[0]))]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
    writer.writerows([columns, *content])
    path.write_bytes(stream.getvalue().encode())
    table = read_table(str(path))
    assert (table.columns, rows(table)) == (tuple(columns), content)


@pytest.mark.slow
@given(content=tables)
def test_read_table_jsonl_of_any_cells_comes_back(
    content: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any_cells.jsonl"
    lines = [
        json.dumps({f"c{number}": cell for number, cell in enumerate(row)}, ensure_ascii=False)
        for row in content
    ]
    path.write_bytes("\n".join(lines).encode())
    assert rows(read_table(str(path))) == content
