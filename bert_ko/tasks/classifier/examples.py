"""Texts, or pairs of texts, with their gold label or score, exactly as in the file."""

from __future__ import annotations

import json
import math
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bert_ko.json_files import expect, kind_of, load_json
from bert_ko.tasks.classifier.settings import TaskForm
from bert_ko.tasks.classifier.tables import Table, listed, read_table
from bert_ko.text_lines import read_lines, source_name

_NO_NUMBERS = ("NaN", "Infinity", "-Infinity")  # as Python writes them to JSON


class Example(NamedTuple):
    """A text or a pair of texts, with the name of its class, its score, or neither."""

    example_id: str  # or its line from 1, or its index from 0 in a list of JSON
    text_a: str
    text_b: str | None = None
    label: str | None = None
    score: float | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """One, or the two of a pair."""
        return (self.text_a,) if self.text_b is None else (self.text_a, self.text_b)


@dataclass(frozen=True)
class Dataset:
    """A file of examples.

    Attributes:
        path: the file.
        examples: in their order.
        problems: what is odd by kind, each with its place.
        label_places: where each label stands first, for messages.
    """

    path: str
    examples: tuple[Example, ...]
    problems: Mapping[str, Sequence[str]]
    label_places: Mapping[str, str] = field(default_factory=dict, compare=False)

    def label_counts(self) -> dict[str, int]:
        """Returns the number of examples of each label, as `sort_labels` orders them."""
        counts = Counter(example.label for example in self.examples if example.label is not None)
        return {label: counts[label] for label in sort_labels(counts)}


def sort_labels(labels: Iterable[str]) -> list[str]:
    """Returns each label once: by their numbers if all are whole numbers, else as text.

    >>> sort_labels(["10", "9", "10"]), sort_labels(["정치", "IT과학"])
    (['9', '10'], ['IT과학', '정치'])
    """
    found = sorted(set(labels))
    return sorted(found, key=int) if all(label.isdecimal() for label in found) else found


def read_dataset(
    path: str, form: TaskForm, *, needs_labels: bool, encoding: str | None = None
) -> Dataset:
    """Reads the examples of a file, and counts what is odd in them.

    Args:
        path: see `tables.read_table`.
        form: what the columns mean.
        needs_labels: whether each example must have a label or score; otherwise the column may be
            missing and cells may be empty, as in a test file.
        encoding: see `text_lines.open_lines`.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is no table, a column or a needed label is missing, a score is not a
            finite number, or a text of JSON is no string. The message names the place.
    """
    table = read_table(path, encoding)
    examples = _examples(table, form, needs_labels)
    problems: dict[str, list[str]] = {}
    places: dict[str, str] = {}
    for index, example in enumerate(examples):
        if example.label is not None and example.label not in places:
            places[example.label] = table.where(index)
    for kind, detail in (*_problems(table, examples, form), *_similar_labels(places)):
        problems.setdefault(kind, []).append(detail)
    if form.placeholder is not None:
        examples = [example for example in examples if not _is_left_out(example, form)]
        if not examples:
            raise ValueError(f"{path} has no example: a text of each is {form.placeholder!r}.")
    return Dataset(path, tuple(examples), problems, places)


def plain_form(label: str) -> str:
    """Returns what two spellings of one label have in common.

    >>> plain_form(" True"), plain_form("01")
    ('true', '1.0')
    """
    text = "".join(unicodedata.normalize("NFKC", label).casefold().split())
    text = text.strip("\u200b\ufeff\"'")
    try:
        return repr(float(text))
    except ValueError:
        return text


def read_texts(path: str, *, is_pair: bool, encoding: str | None = None) -> tuple[Example, ...]:
    """Reads texts without labels, one a line, or pairs with a tab between their two texts.

    Args:
        path: local or remote, compressed or not; "-" is standard input.
        is_pair: whether each line must have two texts.
        encoding: see `text_lines.open_lines`.

    Returns:
        An example for each line, also for an empty one; its id is the number of the line, from 1.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is empty, a line has more or fewer texts, or is not UTF-8.
    """
    lines = read_lines(path, encoding=encoding)
    if not lines:
        raise ValueError(f"{source_name(path)} is empty; expected a text a line.")
    examples = []
    for number, line in enumerate(lines, start=1):
        texts = line.split("\t")
        if len(texts) != 1 + is_pair:
            wanted = "two texts" if is_pair else "one text"
            raise ValueError(
                f"{source_name(path)}:{number}: expected {wanted} with a tab between two, "
                f"got {len(texts)}."
            )
        examples.append(Example(str(number), texts[0], texts[1] if is_pair else None))
    return tuple(examples)


def _examples(table: Table, form: TaskForm, needs_labels: bool) -> list[Example]:
    column = _find_column(table, form.label)
    if needs_labels:
        column = _column(table, form.label, "label")
    nothing = [None] * len(table.rows)
    labels: Sequence[str | None] = nothing
    scores: Sequence[float | None] = nothing
    if column and form.kind == "regression":
        scores = _scores(table, column, needs_labels)
    elif column:
        labels = _labels(table, column, form, needs_labels)
    texts_b = _texts(table, form.text_b, "second text") if form.is_pair else nothing
    texts_a = _texts(table, form.text_a, "text")
    places = list(map(str, table.lines))
    id_column = _find_column(table, form.example_id)
    if id_column is None and form.needs_id:
        id_column = _column(table, form.example_id, "id")
    names = places if id_column is None else _plain_texts(table, id_column)
    ids = (name or place for name, place in zip(names, places, strict=True))
    return list(map(Example, ids, texts_a, texts_b, labels, scores))


def _find_column(table: Table, columns: Sequence[str]) -> str | None:
    return next((column for column in columns if table.has(column)), None)


def _column(table: Table, columns: Sequence[str], meaning: str) -> str:
    """Returns the first of the columns that the table has, which must have one."""
    found = _find_column(table, columns)
    if found is not None:
        return found
    wanted = " or ".join(map(repr, columns))
    names = listed(table.names()) or "nothing"
    what = f"found {names}" if table.is_json else f"the first line has {names}"
    raise ValueError(
        f"{table.path}: no column {wanted} for the {meaning}; {what}. The task tsv takes any "
        "columns: --text_column, --text_pair_column, --label_column, --id_column."
    )


def _texts(table: Table, columns: Sequence[str], meaning: str) -> list[str]:
    column = _column(table, columns, meaning)
    cells = table.cells(column)
    if set(map(type, cells)) != {str}:  # only JSON's cells can be anything else
        for index, cell in enumerate(cells):
            expect(cell, str, f"{table.where(index)}.{column}")
    return cells


def _labels(table: Table, column: str, form: TaskForm, needs_labels: bool) -> list[str | None]:
    names = _label_names(table.path, form.label_files.get(column))
    cells = table.cells(column)
    labels: list[str | None] = []
    for index, label in enumerate(_plain_texts(table, column)):
        if not label and needs_labels:
            raise ValueError(f"{table.where(index)}: no label (column {column!r}).")
        if label in _NO_NUMBERS and type(cells[index]) is float:
            raise ValueError(f"{table.where(index)}: {label} is no label (column {column!r}).")
        if label and names is not None:
            if label not in names:
                raise ValueError(
                    f"{table.where(index)}: {form.label_files[column]} does not name the label "
                    f"{label!r}; it names {listed(list(names))}."
                )
            label = names[label]
        labels.append(label or None)
    return labels


def _label_names(path: str, name: str | None) -> dict[str, str] | None:
    """Returns number to name from a file beside `path`; None if it is missing."""
    if name is None:
        return None
    names_path = os.path.join(os.path.dirname(path), name)
    try:
        value = expect(load_json(names_path), dict, f"{names_path}: top level")
    except FileNotFoundError:
        return None
    return {key: expect(text, str, f"{names_path}: {key!r}") for key, text in value.items()}


def _scores(table: Table, column: str, needs_labels: bool) -> list[float | None]:
    scores: list[float | None] = []
    for index, text in enumerate(_plain_texts(table, column)):
        if not text and not needs_labels:
            scores.append(None)
            continue
        try:
            score = math.nan if "_" in text else float(text)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            got = repr(text) if text else "nothing"
            raise ValueError(
                f"{table.where(index)}: a score (column {column!r}) must be a finite number, "
                f"got {got}."
            )
        scores.append(score)
    return scores


def _plain_texts(table: Table, column: str) -> Iterator[str]:
    """Yields names or numbers as text without blanks around it; "" for null."""
    for index, cell in enumerate(table.cells(column)):
        if type(cell) is str:
            yield cell.strip()
        elif cell is None:
            yield ""
        elif isinstance(cell, int | float):
            yield json.dumps(cell)
        else:
            found = kind_of(cell)
            if type(cell) is dict and cell:
                paths = [f"{column}.{key}" for key in cell]
                found += f"; its members are {listed(paths)}: name one as the column"
            place = f"{table.where(index)}.{column}"
            raise ValueError(f"{place} must be a string or a number, got {found}.")


def _is_left_out(example: Example, form: TaskForm) -> bool:
    return any(text.strip() == form.placeholder for text in example.texts)


def _problems(
    table: Table, examples: Sequence[Example], form: TaskForm
) -> Iterator[tuple[str, str]]:
    """Yields what is odd: its kind, and what was found where."""
    for line in table.repeated_headers:
        yield "repeated_header", f"{table.path}:{line} names the columns again and is skipped"
    for line in table.blank_lines:
        yield "blank_line", f"{table.path}:{line} is empty and skipped"
    least, greatest = form.score_range or (-math.inf, math.inf)
    seen: set[str] = set()
    for index, example in enumerate(examples):
        place, score = table.where(index), example.score
        if not all(map(str.strip, example.texts)):
            yield "empty_text", f"{place}: a text is empty"
        if _is_left_out(example, form):
            yield "untranslated", f"{place}: {form.placeholder!r} for a text; left out"
        if example.example_id in seen:
            yield "repeated_id", f"{place}: the id {example.example_id!r} again; both are kept"
        seen.add(example.example_id)
        if score is not None and not least <= score <= greatest:
            yield (
                "score_out_of_range",
                f"{place}: {score:g} is not in {least:g}..{greatest:g}; kept",
            )


def _similar_labels(places: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yields labels that are spelt almost as another one: two classes, but maybe not meant so."""
    seen: dict[str, str] = {}
    for label, place in places.items():
        if len(label) > 1 and label[0] == label[-1] == '"':
            yield "quoted_label", f"{place}: the quotes of {label} are part of the label"
        other = seen.setdefault(plain_form(label), label)
        if other != label:
            what = f"{place}: {label!r}, but {other!r} before ({places[other]})"
            yield "similar_labels", f"{what}; they are two labels"
