"""How good predicted tags are: by entity as seqeval does it, and KLUE's two official scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bert_ko.progress import format_table
from bert_ko.tasks.ner.bio import entities


class TypeScore(NamedTuple):
    """Of the entities of one type.

    precision, recall, f1: in percent; 0 where there is nothing to divide by.
    support: entities that there are.
    predicted: entities that were predicted.
    correct: those of them that are right.
    """

    precision: float
    recall: float
    f1: float
    support: int
    predicted: int
    correct: int


@dataclass(frozen=True)
class Scores:
    """Of the tags of some sentences; all scores in percent.

    An entity counts as found if its type, its first and its last unit are right.

    Attributes:
        precision: found entities of the predicted ones, all types together (micro average).
        recall: found entities of those that there are.
        f1: of both.
        macro_f1: mean of f1 over the types of by_type.
        weighted_f1: the same, weighted by the number of entities that there are.
        klue_entity_macro_f1: as macro_f1, but a predicted I tag that continues no entity is no
            entity.
        klue_char_macro_f1: mean over the labels, O among them, of the f1 of each label over all
            units; 100 for a label that is neither there nor predicted.
        accuracy: right tags of all units.
        by_type: the types that are there or predicted, sorted.
        support: entities that there are.
        predicted: entities that were predicted.
        num_sentences: of them all.
        num_units: in all sentences.
    """

    precision: float
    recall: float
    f1: float
    macro_f1: float
    weighted_f1: float
    klue_entity_macro_f1: float
    klue_char_macro_f1: float
    accuracy: float
    by_type: dict[str, TypeScore]
    support: int
    predicted: int
    num_sentences: int
    num_units: int


def score(
    golds: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]], labels: Sequence[str]
) -> Scores:
    """Scores the tags of sentences.

    Args:
        golds: for each sentence the tags of its units, such as "B-PS".
        predictions: the same; ill-formed tags are read as bio.entities reads them.
        labels: tags over which klue_char_macro_f1 goes, each once; a tag besides them has no share
            of its own there.

    Raises:
        ValueError: the sentences, or the units of one of them, are not as many on both sides.

    Source: seqeval 1.2.2, classification_report without mode; for klue_entity_macro_f1 its f1_score
        with mode="strict" and scheme=IOB2; for klue_char_macro_f1 sklearn's f1_score with
        average="macro" and zero_division=1: metrics/functional.py of KLUE-benchmark/KLUE-baseline.
    Differs: KLUE counts an O for [CLS] and one for [SEP] of each sentence, which raises the f1 of
        O a little; here are only the units. Its docstring says "except O tag", but its list of
        labels has O, and so it counts here. Means over no type are 0, where seqeval gives NaN, and
        all scores of no units are 0.
    """
    _require_same_lengths(golds, predictions)
    by_type = _score_types(golds, predictions, strict=False)
    strict = _score_types(golds, predictions, strict=True)
    pairs = Counter(
        pair
        for gold, prediction in zip(golds, predictions, strict=True)
        for pair in zip(gold, prediction, strict=True)
    )
    num_units = pairs.total()
    total = _type_score(
        support=sum(found.support for found in by_type.values()),
        predicted=sum(found.predicted for found in by_type.values()),
        correct=sum(found.correct for found in by_type.values()),
    )
    weighted = sum(found.f1 * found.support for found in by_type.values())
    return Scores(
        precision=total.precision,
        recall=total.recall,
        f1=total.f1,
        macro_f1=_mean(found.f1 for found in by_type.values()),
        weighted_f1=weighted / max(total.support, 1),
        klue_entity_macro_f1=_mean(found.f1 for found in strict.values()),
        klue_char_macro_f1=_label_macro_f1(pairs, labels),
        accuracy=_percent(sum(n for (a, b), n in pairs.items() if a == b), num_units),
        by_type=by_type,
        support=total.support,
        predicted=total.predicted,
        num_sentences=len(golds),
        num_units=num_units,
    )


def score_values(scores: Scores) -> dict[str, float]:
    """Returns the scores over all types by name, in percent."""
    return {
        "precision": scores.precision,
        "recall": scores.recall,
        "f1": scores.f1,
        "macro_f1": scores.macro_f1,
        "weighted_f1": scores.weighted_f1,
        "klue_entity_macro_f1": scores.klue_entity_macro_f1,
        "klue_char_macro_f1": scores.klue_char_macro_f1,
        "accuracy": scores.accuracy,
    }


def format_types(scores: Scores) -> str:
    """Returns a table of the scores of the types, in percent, and how many entities there are."""
    rows: list[list[object]] = [
        [kind, found.precision, found.recall, found.f1, found.support, found.predicted]
        for kind, found in scores.by_type.items()
    ]
    return format_table(rows, ["type", "precision", "recall", "F1", "support", "predicted"])


def _require_same_lengths(
    golds: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> None:
    if len(golds) != len(predictions):
        raise ValueError(
            f"tags must be predicted for {len(golds)} sentences, got {len(predictions)}."
        )
    for number, (gold, prediction) in enumerate(zip(golds, predictions, strict=True), start=1):
        if len(gold) != len(prediction):
            raise ValueError(
                f"sentence {number} must have {len(gold)} predicted tags, got {len(prediction)}."
            )


def _score_types(
    golds: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]], strict: bool
) -> dict[str, TypeScore]:
    support: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    correct: Counter[str] = Counter()
    for gold, prediction in zip(golds, predictions, strict=True):
        there, found = entities(gold, strict), entities(prediction, strict)
        support.update(entity.type for entity in there)
        predicted.update(entity.type for entity in found)
        correct.update(entity.type for entity in set(there) & set(found))
    return {
        kind: _type_score(support[kind], predicted[kind], correct[kind])
        for kind in sorted({*support, *predicted})
    }


def _type_score(support: int, predicted: int, correct: int) -> TypeScore:
    return TypeScore(
        precision=_percent(correct, predicted),
        recall=_percent(correct, support),
        f1=_percent(2 * correct, predicted + support),
        support=support,
        predicted=predicted,
        correct=correct,
    )


def _label_macro_f1(pairs: Counter[tuple[str, str]], labels: Sequence[str]) -> float:
    """Args: pairs: how often a gold tag and a predicted one stand at the same unit."""
    if not pairs:
        return 0.0
    both: Counter[str] = Counter()  # on either side, so that a right unit counts twice
    for (gold, prediction), number in pairs.items():
        both[gold] += number
        both[prediction] += number
    return _mean(
        _percent(2 * pairs[label, label], both[label]) if both[label] else 100.0 for label in labels
    )


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / max(len(numbers), 1)
