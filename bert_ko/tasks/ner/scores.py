"""Scores of predicted tags: by entity as in seqeval, and KLUE's two official scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bert_ko.progress import format_table
from bert_ko.tasks.ner.bio import Entity, entities

Tags = Sequence[Sequence[str]]
_NAMES = (
    "precision", "recall", "f1", "macro_f1", "weighted_f1", "klue_entity_macro_f1",
    "klue_char_macro_f1", "accuracy",
)  # fmt: skip


class TypeScore(NamedTuple):
    """Scores of one type in percent, 0 where undefined, and numbers of entities."""

    precision: float
    recall: float
    f1: float
    support: int  # gold entities
    predicted: int
    correct: int


@dataclass(frozen=True)
class Scores:
    """Of the tags of some sentences; all scores in percent.

    An entity is correct if its type, its first and its last unit are.

    Attributes:
        precision: correct entities of the predicted ones, over all types (micro average).
        recall: correct entities of the gold ones.
        f1: of both.
        macro_f1: mean of f1 over the types of by_type.
        weighted_f1: the same, weighted by the number of gold entities.
        klue_entity_macro_f1: as macro_f1, but a predicted I tag that continues no entity begins
            none.
        klue_char_macro_f1: mean over the labels, including O, of the f1 of each label over all
            units; 100 for a label that occurs on neither side.
        accuracy: correct tags of all units.
        by_type: the types that occur on either side, sorted.
        support: gold entities.
        predicted: predicted entities.
        num_sentences: all sentences.
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


def score(golds: Tags, predictions: Tags, labels: Sequence[str]) -> Scores:
    """Scores the tags of sentences.

    Args:
        golds: for each sentence the tags of its units, such as "B-PS".
        predictions: the same; ill-formed tags are read as bio.entities reads them.
        labels: tags that klue_char_macro_f1 averages over, each once.

    Raises:
        ValueError: the numbers of sentences, or of the units of one of them, differ.

    Source: seqeval 1.2.2, classification_report without mode; for klue_entity_macro_f1 its f1_score
        with mode="strict" and scheme=IOB2; for klue_char_macro_f1 sklearn's f1_score with
        average="macro" and zero_division=1: metrics/functional.py of KLUE-benchmark/KLUE-baseline.
    Differs: KLUE counts an O for [CLS] and one for [SEP] of each sentence, which raises the f1 of
        O a little; only units count here. Its docstring says "except O tag", but its list of
        labels has O, and so it counts here. Means over no type are 0, where seqeval gives NaN, and
        all scores of no units are 0.
    """
    if len(golds) != len(predictions):
        raise ValueError(
            f"tags must be predicted for {len(golds)} sentences, got {len(predictions)}."
        )
    pairs: Counter[tuple[str, str]] = Counter()
    for number, (gold, prediction) in enumerate(zip(golds, predictions, strict=True), start=1):
        if len(gold) != len(prediction):
            raise ValueError(
                f"sentence {number} must have {len(gold)} predicted tags, got {len(prediction)}."
            )
        pairs.update(zip(gold, prediction, strict=True))
    by_type = _score_types(golds, predictions, strict=False)
    strict = _score_types(golds, predictions, strict=True)
    found = by_type.values()
    total = _type_score(
        sum(one.support for one in found),
        sum(one.predicted for one in found),
        sum(one.correct for one in found),
    )
    return Scores(
        precision=total.precision,
        recall=total.recall,
        f1=total.f1,
        macro_f1=_mean(one.f1 for one in found),
        weighted_f1=sum(one.f1 * one.support for one in found) / max(total.support, 1),
        klue_entity_macro_f1=_mean(one.f1 for one in strict.values()),
        klue_char_macro_f1=_label_macro_f1(pairs, labels),
        accuracy=_percent(sum(n for (a, b), n in pairs.items() if a == b), pairs.total()),
        by_type=by_type,
        support=total.support,
        predicted=total.predicted,
        num_sentences=len(golds),
        num_units=pairs.total(),
    )


def score_values(scores: Scores) -> dict[str, float]:
    """Returns the scores over all types by name, in percent."""
    return {name: getattr(scores, name) for name in _NAMES}


def score_groups(
    golds: Sequence[Sequence[Entity]],
    predictions: Sequence[Sequence[Entity]],
    name_of: Callable[[int, Entity], str],
) -> dict[str, TypeScore]:
    """Returns the scores of groups of entities, as of types.

    Args:
        golds: the entities of each sentence.
        predictions: the same, predicted.
        name_of: the number of a sentence and one of its entities to the name of their group.
    """
    support, predicted, correct = Counter[str](), Counter[str](), Counter[str]()
    for number, (wanted, found) in enumerate(zip(golds, predictions, strict=True)):
        support.update(name_of(number, entity) for entity in wanted)
        predicted.update(name_of(number, entity) for entity in found)
        correct.update(name_of(number, entity) for entity in set(wanted) & set(found))
    return {
        name: _type_score(support[name], predicted[name], correct[name])
        for name in sorted({*support, *predicted})
    }


def format_types(scores: Scores) -> str:
    """Returns a table of the scores of the types, in percent, and numbers of entities."""
    rows: list[list[object]] = [[kind, *found[:5]] for kind, found in scores.by_type.items()]
    return format_table(rows, ["type", "precision", "recall", "F1", "support", "predicted"])


def _score_types(golds: Tags, predictions: Tags, strict: bool) -> dict[str, TypeScore]:
    wanted, found = ([entities(tags, strict) for tags in side] for side in (golds, predictions))
    return score_groups(wanted, found, lambda _, entity: entity.type)


def _type_score(support: int, predicted: int, correct: int) -> TypeScore:
    precision, recall = _percent(correct, predicted), _percent(correct, support)
    f1 = _percent(2 * correct, predicted + support)
    return TypeScore(precision, recall, f1, support, predicted, correct)


def _label_macro_f1(pairs: Counter[tuple[str, str]], labels: Sequence[str]) -> float:
    """Args: pairs: the number of units by gold and predicted tag."""
    if not pairs:
        return 0.0
    both: Counter[str] = Counter()  # on either side, so that a correct unit counts twice
    for pair, number in pairs.items():
        for tag in pair:
            both[tag] += number
    return _mean(
        _percent(2 * pairs[label, label], both[label]) if both[label] else 100.0 for label in labels
    )


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / max(len(numbers), 1)
