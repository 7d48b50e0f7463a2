"""report.html of run_ner: scores, kinds of errors, curves and every sentence with its entities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.report.blocks import (
    Choice,
    Facts,
    Headline,
    Items,
    Listing,
    Menu,
    Row,
    Section,
    Table,
    count,
    numbers,
)
from bert_ko.report.groups import length_name, length_names
from bert_ko.report.languages import Texts
from bert_ko.report.page import (
    Page,
    calibration_sections,
    counted_choice,
    curve_sections,
    dataset_problems,
    render_task_page,
)
from bert_ko.tasks import fine_tuning
from bert_ko.tasks.ner.bio import Entity, entities
from bert_ko.tasks.ner.examples import Dataset
from bert_ko.tasks.ner.features import Tagged
from bert_ko.tasks.ner.scores import Scores, TypeScore, score_groups

ErrorKind = Literal["type", "boundary", "both", "missed", "spurious"]

_SCORE_NAMES = {
    "f1": "Entity F1",
    "macro_f1": "Entity macro F1",
    "klue_entity_macro_f1": "KLUE's entity macro F1",
    "klue_char_macro_f1": "KLUE's character macro F1",
}
_ERROR_LABELS: dict[ErrorKind, str] = {
    "type": "Wrong type",
    "boundary": "Wrong boundary",
    "both": "Wrong type and boundary",
    "missed": "Missed",
    "spurious": "Spurious",
}
_LENGTHS = (2, 4, 8)  # characters of an entity
_UNKNOWN = ("with [UNK]", "without")
_ORDERS = {"file": "As in the file", "errors": "Most errors first"}
_CURVES = {
    "Loss": {"loss": "training", "eval_loss": "evaluation"},
    "Learning rate": {"learning_rate": "learning rate"},
    "Accuracy of tags in training, percent": {"accuracy": "training"},
    "Evaluation, percent": {
        "eval_f1": "entity F1",
        "eval_macro_f1": "entity macro F1",
        "eval_klue_char_macro_f1": "KLUE's character macro F1",
    },
}


@dataclass(frozen=True)
class ReportData(fine_tuning.ReportData):
    """What a report shows: sentences with gold tags, predicted tags of their units, and scores."""

    dataset: Dataset
    predictions: Sequence[Tagged]
    scores: Scores
    unknown: npt.NDArray[np.bool_] | None  # whether a sentence has [UNK]; None of a model of words


def render_report(data: ReportData) -> str:
    """Returns the report as HTML."""
    t, values = data.t, report_values(data)
    sentences = values["sentences"]
    errors = [(error["kind"], error["type"]) for value in sentences for error in value["errors"]]
    scores = [
        Headline(_headline(t, data.scores, data.dataset.unit)),
        Facts(
            [
                (t("Entity macro F1"), f"{data.scores.macro_f1:.2f}"),
                (t("Entity F1, weighted by type"), f"{data.scores.weighted_f1:.2f}"),
                (t("Right tags, percent"), f"{data.scores.accuracy:.2f}"),
            ]
        ),
        Items(dataset_problems(t, ((k, len(v)) for k, v in data.dataset.problems.items()))),
        _type_table(t, data.scores),
        _error_table(t, list(data.scores.by_type), errors),
        *_group_tables(t, data),
    ]
    sections = [
        Section("scores", t("Scores"), scores),
        *_calibration(data),
        *curve_sections(t, data.curves(_CURVES, fractions=("accuracy",))),
        data.run_section([(name, t(label)) for name, label in _SCORE_NAMES.items()]),
        Section("sentences", t("Sentences"), [_listing(t, sentences, list(data.scores.by_type))]),
    ]
    return render_task_page("tasks/ner", Page(data.title, sections, values), t)


def _type_table(t: Texts, scores: Scores) -> Table:
    names = ("Type", "Precision", "Recall", "F1", "Entities", "Predicted", "Right")
    rows = [_score_row(type, score) for type, score in scores.by_type.items()]
    return Table(t("Types, in percent"), [t(name) for name in names], rows)


def _score_row(name: str, score: TypeScore) -> Row:
    return (
        name,
        *numbers([score.precision, score.recall, score.f1]),
        *numbers([score.support, score.predicted, score.correct], ",d"),
    )


def _group_tables(t: Texts, data: ReportData) -> list[Table]:
    """Scores by the length of the entities, and of sentences with [UNK] and without."""
    sentences, unknown = data.dataset.sentences, data.unknown
    golds = [one.spans(one.tags) for one in sentences]
    found = [
        one.spans(tagged.tags) for one, tagged in zip(sentences, data.predictions, strict=True)
    ]

    def length(_: int, entity: Entity) -> str:
        return length_name(entity.end - entity.start, _LENGTHS)

    names = ("Precision", "Recall", "F1", "Entities", "Predicted", "Right")
    by_length = score_groups(golds, found, length)
    kinds = [("Entities by length, in percent", "Characters", by_length, length_names(_LENGTHS))]
    if unknown is not None:
        groups = [_UNKNOWN[not has] for has in unknown.tolist()]
        by_unknown = score_groups(golds, found, lambda number, _: groups[number])
        caption = "Entities of sentences with [UNK] and without, in percent"
        kinds.append((caption, "Sentences", by_unknown, _UNKNOWN))
    return [
        Table(
            t(caption),
            [t(header), *map(t, names)],
            [_score_row(t(name), scores[name]) for name in order if name in scores],
        )
        for caption, header, scores, order in kinds
        if scores
    ]


def _calibration(data: ReportData) -> list[Section]:
    """The probability of predicted entities, the least of their units, against being right."""
    confidences: list[float] = []
    is_right: list[bool] = []
    for sentence, tagged in zip(data.dataset.sentences, data.predictions, strict=True):
        golds = set(entities(sentence.tags))
        for entity in entities(tagged.tags):
            confidences.append(float(tagged.confidences[entity.start : entity.end].min()))
            is_right.append(entity in golds)
    return calibration_sections(data.t, "Entities", confidences, is_right)


def _error_table(t: Texts, types: Sequence[str], errors: Sequence[tuple[ErrorKind, str]]) -> Table:
    found, totals = Counter(errors), Counter(kind for kind, _ in errors)
    rows: list[Row] = [
        (type, *(count(found[kind, type], filter=kind, type=type) for kind in _ERROR_LABELS))
        for type in types
    ]
    footer: Row = (t("All"), *(count(totals[kind], filter=kind) for kind in _ERROR_LABELS))
    caption = t("Errors by type of the gold entity, of spurious ones by their own")
    return Table(caption, [t("Type"), *map(t, _ERROR_LABELS.values())], rows, [footer])


def report_values(data: ReportData) -> dict[str, Any]:
    """Returns what the script of the page lists.

    Returns:
        kinds, the labels of each kind of error, and sentences. An entity is [type, start,
        end] in characters of the text, an error its kind, type, gold and predicted entity or None.
    """
    sentences = []
    for sentence, tagged in zip(data.dataset.sentences, data.predictions, strict=True):
        golds, predicted = sentence.spans(sentence.tags), sentence.spans(tagged.tags)
        errors = find_errors(golds, predicted)
        sentences.append(
            {
                "id": sentence.sentence_id,
                "text": sentence.text,
                "golds": golds,
                "predicted": predicted,
                "errors": [
                    {"kind": e.kind, "type": e.type, "gold": e.gold, "predicted": e.predicted}
                    for e in errors
                ],
            }
        )
    kinds = {kind: data.t(label) for kind, label in _ERROR_LABELS.items()}
    return {"kinds": kinds, "sentences": sentences}


def _headline(t: Texts, scores: Scores, unit: str) -> list[tuple[str, str, str]]:
    parts = {"precision": f"{scores.precision:.2f}", "recall": f"{scores.recall:.2f}"}
    units = t(f"{{count}} {unit}s", count=f"{scores.num_units:,}")
    entity_note = t("precision {precision}, recall {recall}", **parts)
    char_f1, entity_f1 = scores.klue_char_macro_f1, scores.klue_entity_macro_f1
    return [
        (t("Entity F1"), f"{scores.f1:.2f}", entity_note),
        (t("KLUE's character macro F1"), f"{char_f1:.2f}", t("mean over the tags")),
        (t("KLUE's entity macro F1"), f"{entity_f1:.2f}", t("mean over the types")),
        (t("Sentences"), f"{scores.num_sentences:,}", units),
    ]


def _listing(t: Texts, sentences: Sequence[Mapping[str, Any]], types: Sequence[str]) -> Listing:
    total = len(sentences)
    kinds = Counter(
        kind for sentence in sentences for kind in {error["kind"] for error in sentence["errors"]}
    )
    wrong = sum(bool(sentence["errors"]) for sentence in sentences)
    filters = [
        counted_choice("all", t("All"), total),
        counted_choice("right", t("Right"), total - wrong),
        counted_choice("wrong", t("With errors"), wrong),
        *(counted_choice(kind, t(label), kinds[kind]) for kind, label in _ERROR_LABELS.items()),
    ]
    menu = Menu("type", t("Type"), [Choice("", t("Any")), *(Choice(type, type) for type in types)])
    orders = [Choice(name, t(label)) for name, label in _ORDERS.items()]
    note = t("The type stands behind each entity.")
    return Listing(filters, orders, [menu], legend="entity", note=note)


class Error(NamedTuple):
    """A gold and a predicted entity that overlap but differ, or one of them alone.

    The kind says what is wrong: the type, the boundary or both; or the entity is missed (only gold)
    or spurious (only predicted).
    """

    kind: ErrorKind
    gold: Entity | None
    predicted: Entity | None

    @property
    def type(self) -> str:
        """The type that the error counts for: of the gold entity, else of the predicted one."""
        entity = self.gold or self.predicted
        assert entity
        return entity.type


def find_errors(golds: Sequence[Entity], predicted: Sequence[Entity]) -> list[Error]:
    """Compares the entities of a sentence.

    Args:
        golds: without overlaps.
        predicted: without overlaps.

    Returns:
        Errors in the order of the text; every wrong entity is in one of them. Of several that
        overlap it, an entity is paired with one of its own type, else with the longest overlap,
        else with the first; the others are missed or spurious.
    """
    right = set(golds) & set(predicted)
    golds_left = [entity for entity in golds if entity not in right]
    predicted_left = [entity for entity in predicted if entity not in right]
    pairs = [(gold, found) for gold in golds_left for found in predicted_left]
    errors: list[Error] = []
    for gold, found in sorted(filter(_overlap, pairs), key=_closeness):
        if gold in golds_left and found in predicted_left:
            golds_left.remove(gold)
            predicted_left.remove(found)
            errors.append(Error(_kind(gold, found), gold, found))
    errors += [Error("missed", gold, None) for gold in golds_left]
    errors += [Error("spurious", None, found) for found in predicted_left]
    return sorted(errors, key=_start)


def _overlap(pair: tuple[Entity, Entity]) -> int:
    gold, found = pair
    return max(0, min(gold.end, found.end) - max(gold.start, found.start))


def _closeness(pair: tuple[Entity, Entity]) -> tuple[bool, int, int, int]:
    gold, found = pair
    return (gold.type != found.type, -_overlap(pair), gold.start, found.start)


def _kind(gold: Entity, found: Entity) -> ErrorKind:
    if gold[1:] == found[1:]:
        return "type"
    return "boundary" if gold.type == found.type else "both"


def _start(error: Error) -> tuple[int, int]:
    starts = [entity.start for entity in (error.gold, error.predicted) if entity]
    return min(starts), max(starts)
