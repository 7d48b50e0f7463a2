"""Files of questions and answers with damaged members: read, or an error of one line."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bert_ko.tasks.squad.klue import klue_values
from bert_ko.tasks.squad.prediction_files import read_predictions
from bert_ko.tasks.squad.question_files import read_dataset
from bert_ko.tasks.squad.scores import score_predictions

CONTEXT = "나루터에 배가 두 척 있다. 하나는 낡았다."
ANSWERS = [{"text": "두 척", "answer_start": 8}]
ASKED = {"id": "q1", "question": "몇 척인가?", "answers": ANSWERS, "is_impossible": False}
KLUE = {"guid": 7, "question": "무엇이 있는가?", "answers": [], "is_impossible": True}
ARTICLE = {"title": None, "paragraphs": [{"context": CONTEXT, "qas": [ASKED, KLUE]}]}
FLAT = {**ASKED, "context": CONTEXT, "answers": {"text": ["두 척"], "answer_start": [8]}}
DATASETS = [{"version": "klue-mrc-v1.1", "data": [ARTICLE]}, {"data": [FLAT, FLAT]}, [FLAT]]
PREDICTIONS = [{"q1": "두 척", "7": ""}, [{"id": "q1", "prediction_text": "두 척"}],
               {"q1": {"text": "두 척", "answer_start": 8}}]  # fmt: skip
ODD: list[Any] = [
    None, True, -1, 10**30, 2.5, float("nan"), "", "\ud800", "한\n줄", "8", [], {}, [None],
    {"text": [1], "answer_start": ["a"]},
]  # fmt: skip
NAMES = ("id", "guid", "text", "context", "question", "qas", "answers", "answer", "data", "한\n줄")


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yields each container with each of its keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def damage(value: Any, rng: random.Random) -> Any:
    """Changes one to three members: another value, another name, gone, or twice."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        found = list(places(value))
        if not found:
            break
        parent, key = rng.choice(found)
        how = rng.randrange(4)
        if how == 0:
            del parent[key]
        elif how == 1 and isinstance(parent, dict):
            parent[rng.choice(NAMES)] = parent.pop(key)
        elif how == 2 and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        else:
            parent[key] = copy.deepcopy(rng.choice([*ODD, rng.choice(found)[0]]))
    return value


def use_dataset(path: str) -> None:
    dataset = read_dataset(path)
    for paragraph, question in dataset.questions():
        for answer in question.answers:
            if answer.start is not None:
                assert paragraph.context[answer.start : answer.end] == answer.text
    scores = score_predictions(dataset.golds(), {"q1": "두 척", "7": ""})
    assert 0 <= scores.means["f1"] <= 100
    klue_values(dataset, scores)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dataset", "predictions"])
def test_damaged_file_is_read_or_one_line_of_error(kind: str, tmp_path: Path) -> None:
    rng, path = random.Random(13), tmp_path / "file.json"
    outcomes = {"read": 0, "refused": 0}
    for _ in range(200):
        value = damage(rng.choice(DATASETS if kind == "dataset" else PREDICTIONS), rng)
        path.write_text(json.dumps(value))
        try:
            if kind == "dataset":
                use_dataset(str(path))
            else:
                read_predictions(str(path))
            outcomes["read"] += 1
        except ValueError as error:
            outcomes["refused"] += 1
            assert str(error).startswith(str(path))
            assert "\n" not in str(error)
    assert min(outcomes.values()) > 20
