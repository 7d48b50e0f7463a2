import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_ko.csv_rows import Row, count_line_ends, last_row_end, read_rows

NOT_CLOSED = "a quote opens a cell and is not closed"

CELLS = st.lists(st.lists(st.text('가,"\n\r 1', max_size=6), min_size=2, max_size=3), max_size=6)


def written(rows: list[list[str]], end: str) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    return stream.getvalue()


def good(text: str, num_columns: int | None = 2) -> list[list[str]]:
    return [row.cells for row in read_rows(text, num_columns=num_columns) if row.problem is None]


def bad(text: str, num_columns: int | None = 2) -> list[tuple[int, str | None]]:
    rows = read_rows(text, num_columns=num_columns)
    return [(row.line, row.problem) for row in rows if row.problem]


@settings(max_examples=50)
@given(CELLS, st.sampled_from(["\n", "\r\n", "\r"]))
def test_read_rows_what_was_written_comes_back(rows: list[list[str]], end: str) -> None:
    assert good(written(rows, end), None) == rows


def test_read_rows_lines_are_counted_in_cells_too() -> None:
    text = '1,"봄\r\n눈"\r\n\r\n2,비\r\n'
    assert list(read_rows(text, first_line=5)) == [
        Row(5, ["1", "봄\r\n눈"]), Row(7, []), Row(8, ["2", "비"]),
    ]  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_read_rows_quote_that_nothing_closes_costs_its_row(end: str) -> None:
    rows = [f"{i},글 {i}" for i in range(50)]
    rows[1] = '1,"글 1'
    text = "".join(row + end for row in rows)
    assert bad(text) == [(2, NOT_CLOSED)]
    assert [cells[0] for cells in good(text)] == [str(i) for i in range(50) if i != 1]


@pytest.mark.parametrize(
    "closing",
    [
        '30,"봄, 여름"',  # a row in quotes
        '30,"봄\n여름"',  # over two lines
        '30,"봄',  # another stray one
        '30,그가 "봄"이라 했다',
        '30,봄"',  # what is between looks like a cell
        '30,""',
    ],
)
def test_read_rows_later_quotes_do_not_close_a_stray_one(closing: str) -> None:
    rows = [f"{i},글" for i in range(40)]
    rows[1], rows[30] = '1,"글', closing
    text = "\n".join(rows)
    found = bad(text)
    assert found[0] == (2, NOT_CLOSED) and all(line > 30 for line, _ in found[1:])
    assert [cells[0] for cells in good(text)][:29] == ["0", *map(str, range(2, 30))]
    assert [cells[0] for cells in good(text)][-9:] == list(map(str, range(31, 40)))


@pytest.mark.parametrize(
    ("opening", "closing"),
    [('1,"글', '30,"" 글, 꽃"'), ('"1,글', '30",글'), ('1,"글, 꽃', '30,"글, 꽃"')],
)
def test_read_rows_two_stray_quotes_cost_their_rows(opening: str, closing: str) -> None:
    rows = [f"{i},글" for i in range(40)]
    rows[1], rows[30] = opening, closing
    found = [cells[0] for cells in good("\n".join(rows))]
    assert {str(i) for i in range(40)} - set(found) <= {"1", "30"}


@pytest.mark.parametrize(
    "text",
    [
        '가,"봄\n여름\n가을"\n',
        '1,"봄, 꽃\n여름, 비\n가을, 잎"\n',  # a comma in every line
        '1,"봄\n\n여름"\n',
        '가,"봄, 꽃\n여름, 비"\n',
        '1,그는 "봄"이라고 했다\n',  # quotes inside an unquoted cell
        '1,봄 5" 여름\n',
    ],
)
def test_read_rows_lines_and_quotes_inside_a_cell_are_its_own(text: str) -> None:
    assert bad(text) == [] and len(good(text)) == 1


def test_read_rows_many_stray_quotes_each_cost_their_row() -> None:
    text = "".join(f'{i},"글\n{i},나무\n' for i in range(300))
    assert len(good(text)) == 300 and len(bad(text)) == 300


@pytest.mark.slow
@settings(max_examples=50)
@given(CELLS, st.integers(0, 60))
def test_last_row_end_never_cuts_a_row(rows: list[list[str]], size: int) -> None:
    data = written(rows, "\n").encode()
    end = last_row_end(data[:size], False)
    assert good(data[:end].decode(), None) + good(data[end:].decode(), None) == rows


def test_last_row_end_quote_that_is_open_waits_until_all_is_there() -> None:
    data = '1,가\n2,"나\n3,다\n'.encode()
    assert data[: last_row_end(data, False)] == "1,가\n".encode()
    assert last_row_end(data, True) == len(data)
    assert last_row_end(data + '4,"라"\n5'.encode(), False) == len(data + '4,"라"\n'.encode())


def test_count_line_ends_counts_all_three() -> None:
    assert count_line_ends(b"a\nb\r\nc\rd\r\r\n") == 5
