import math

import numpy as np
import pytest

from bert_ko.tasks.squad.examples import Dataset
from bert_ko.tasks.squad.features import Features, max_context
from bert_ko.tasks.squad.predictions import PredictionConfig, predict
from bert_ko.tasks.squad.scores import score_predictions

Logits = tuple[np.ndarray, np.ndarray]


def gold_logits(features: Features) -> Logits:
    """What a reader that is right would say."""
    windows = np.arange(len(features.window_questions), dtype=np.int32)
    starts, ends = features.targets(windows)
    logits = np.zeros((2, len(windows), 96), np.float32)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start:
            logits[0, row, start] = logits[1, row, end] = 10
    return logits[0], logits[1]


def random_logits(features: Features) -> Logits:
    rng = np.random.default_rng(3)
    shape = (len(features.window_questions), 96)
    return rng.normal(size=shape).astype(np.float32), rng.normal(size=shape).astype(np.float32)


def test_predict_right_logits_give_the_gold_answers(
    squad: Dataset, squad_features: Features
) -> None:
    config, answers = PredictionConfig(), {}
    predictions = predict(squad, squad_features, *gold_logits(squad_features), config)
    for prediction, (paragraph, question) in zip(predictions, squad.questions(), strict=True):
        best = prediction.best(config)
        answers[question.qas_id] = best.text
        assert prediction.qas_id == question.qas_id
        assert paragraph.context[best.start : best.end] == best.text
    scores = score_predictions(squad.golds(), answers)
    assert (scores.means, scores.missing) == ({"exact_match": 100, "f1": 100}, [])


def plain_best(
    squad: Dataset, features: Features, logits: Logits, config: PredictionConfig
) -> list[tuple[str, float]]:
    """Text and score of each question's best answer: Google's loops."""
    is_max = np.split(max_context(features), np.cumsum(features.window_counts)[:-1])
    best: list[tuple[str, float]] = [("", -math.inf)] * len(features.question_contexts)
    for window, question in enumerate(features.window_questions.tolist()):
        begin = int(features.first_context_position[window])
        count, first = int(features.window_counts[window]), int(features.window_first[window])
        context = int(features.question_contexts[question])
        offset = int(features.context_offsets[context])
        start_logits, end_logits = logits[0][window], logits[1][window]
        inside = range(begin, begin + count)
        top_starts = sorted(
            (i for i in inside if is_max[window][i - begin]), key=lambda i: -start_logits[i]
        )
        top_ends = sorted(inside, key=lambda i: -end_logits[i])
        for start in top_starts[: config.n_best_size]:
            for end in top_ends[: config.n_best_size]:
                if start <= end < start + config.max_answer_length:
                    score = float(start_logits[start] + end_logits[end])
                    if score > best[question][1]:
                        piece = offset + first - begin
                        characters = slice(
                            features.context_starts[piece + start],
                            features.context_ends[piece + end],
                        )
                        text = squad.paragraphs[context].context[characters]
                        best[question] = (text, score)
    return best


@pytest.mark.parametrize("max_answer_length", [1, 5, 30])
def test_predict_equals_plain_loops(
    squad: Dataset, squad_features: Features, max_answer_length: int
) -> None:
    config = PredictionConfig(max_answer_length=max_answer_length)
    logits = random_logits(squad_features)
    found = [
        (p.best(config).text, p.best(config).score)
        for p in predict(squad, squad_features, *logits, config)
    ]
    expected = plain_best(squad, squad_features, logits, config)
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [s for _, s in found] == pytest.approx([s for _, s in expected], abs=1e-5)


def test_predict_candidates_are_distinct_ranked_and_sum_to_1(
    squad: Dataset, squad_features: Features
) -> None:
    config = PredictionConfig(n_best_size=7)
    for prediction in predict(squad, squad_features, *random_logits(squad_features), config):
        scores = [candidate.score for candidate in prediction.candidates]
        assert len(scores) <= 7 and scores == sorted(scores, reverse=True)
        assert len({candidate.text for candidate in prediction.candidates}) == len(scores)
        assert sum(c.probability for c in prediction.candidates) == pytest.approx(1)


def test_predict_version_2_no_answer_where_cls_is_better(
    squad: Dataset, squad_features: Features
) -> None:
    starts, ends = gold_logits(squad_features)
    starts[squad_features.window_questions == 0, 0] = 50
    config = PredictionConfig(version_2_with_negative=True)
    first, *others = predict(squad, squad_features, starts, ends, config)
    assert first.best(config).text == "" and first.null_odds == pytest.approx(30)
    assert all(other.best(config).text for other in others)
    patient = PredictionConfig(version_2_with_negative=True, null_score_diff_threshold=40)
    assert first.best(patient).text
