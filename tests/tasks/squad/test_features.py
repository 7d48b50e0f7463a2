from pathlib import Path

import numpy as np
import pytest

from bert_ko.tasks.squad.examples import Dataset, Gold, Paragraph, Question
from bert_ko.tasks.squad.features import (
    Features,
    WindowConfig,
    build_features,
    cached_features,
    gold_spans,
    max_context,
    project,
)
from bert_ko.tasks.squad.question_files import read_dataset
from bert_ko.tasks.squad.scores import score_predictions
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.tokenizer import Tokenizer

VOCAB = Path(__file__).parents[3] / "vocab" / "ko-mecab-32k"


def plain_windows(length: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Google's loop: (first piece, pieces) of each window."""
    found, start = [], 0
    while start < length:
        size = min(length - start, room)
        found.append((start, size))
        if start + size == length:
            break
        start += min(size, stride)
    return found


def test_windows_equal_a_plain_loop(squad_features: Features, window_config: WindowConfig) -> None:
    lengths = np.diff(squad_features.context_offsets)
    queries = np.diff(squad_features.question_offsets)
    for question, context in enumerate(squad_features.question_contexts):
        room = window_config.max_seq_length - 3 - queries[question]
        here = squad_features.window_questions == question
        firsts, counts = squad_features.window_first[here], squad_features.window_counts[here]
        found = list(zip(firsts.tolist(), counts.tolist(), strict=True))
        assert found == plain_windows(lengths[context], room, window_config.doc_stride)
    assert (squad_features.lengths <= window_config.max_seq_length).all()
    assert np.count_nonzero(squad_features.window_questions == 0) > 3


def test_gather_is_question_and_context(
    squad: Dataset, squad_features: Features, tokenizer: Tokenizer
) -> None:
    vocab = tokenizer.vocab
    special = (vocab.pad_id, vocab.cls_id, vocab.sep_id)
    windows = np.arange(len(squad_features.window_questions), dtype=np.int32)
    batch = squad_features.gather(windows, 100, special)
    questions = [question for _, question in squad.questions()]
    contexts = [tokenizer.encode(paragraph.context).ids for paragraph in squad.paragraphs]
    for window in windows.tolist():
        question = squad_features.window_questions[window]
        query = tokenizer.encode(questions[question].question).ids[:24]
        first, count = squad_features.window_first[window], squad_features.window_counts[window]
        context = contexts[squad_features.question_contexts[question]][first : first + count]
        ids = [vocab.cls_id, *query, vocab.sep_id, *context, vocab.sep_id]
        padding = [0] * (100 - len(ids))
        assert batch["input_ids"][window].tolist() == ids + [vocab.pad_id] * len(padding)
        assert batch["input_mask"][window].tolist() == [1] * len(ids) + padding
        segments = [0] * (len(query) + 2) + [1] * (len(context) + 1) + padding
        assert batch["segment_ids"][window].tolist() == segments


def test_targets_are_the_gold_answer_or_cls(
    squad: Dataset, squad_features: Features, tokenizer: Tokenizer
) -> None:
    vocab = tokenizer.vocab
    windows = np.arange(len(squad_features.window_questions), dtype=np.int32)
    batch = squad_features.gather(windows, 96, (vocab.pad_id, vocab.cls_id, vocab.sep_id))
    starts, ends = squad_features.targets(windows)
    questions = [question for _, question in squad.questions()]
    seen = set()
    for window, start, end in zip(windows.tolist(), starts, ends, strict=True):
        if start == 0:
            assert end == 0
            continue
        question = int(squad_features.window_questions[window])
        answer = tokenizer.encode(questions[question].answers[0].text).ids
        found = batch["input_ids"][window, start : end + 1].tolist()
        assert len(found) == len(answer) and start <= end
        seen.add(question)
    assert seen == set(range(len(questions)))  # each is whole in some window
    assert (starts == 0).any()  # and in some not


def test_pieces_of_the_answer_slice_the_original_context(
    squad: Dataset, squad_features: Features
) -> None:
    spans = gold_spans(squad, squad_features)
    for paragraph, question in squad.questions():
        span = spans[question.qas_id]
        assert question.answers[0].text in span.text
        assert span.text == paragraph.context[span.start : span.end]


def test_select_keeps_questions_and_contexts_and_the_chosen_windows(
    squad_features: Features,
) -> None:
    total = len(squad_features.window_questions)
    chosen = np.arange(total) % 3 == 1
    selected = squad_features.select(chosen)
    whole = np.flatnonzero(chosen).astype(np.int32)
    windows = np.arange(len(whole), dtype=np.int32)
    special = (0, 2, 3)
    assert 0 < len(whole) < total
    assert selected.lengths.tolist() == squad_features.lengths[whole].tolist()
    for ours, theirs in zip(selected.targets(windows), squad_features.targets(whole), strict=True):
        assert ours.tolist() == theirs.tolist()
    ours, theirs = (
        features.gather(numbers, 96, special)["input_ids"]
        for features, numbers in ((selected, windows), (squad_features, whole))
    )
    assert np.array_equal(ours, theirs)
    for name, array in vars(squad_features).items():
        if not name.startswith("window_"):
            assert getattr(selected, name) is array
    assert len(squad_features.select(np.zeros(total, np.bool_)).lengths) == 0


def test_gather_without_any_piece_of_a_question_or_context(tokenizer: Tokenizer) -> None:
    # Nothing to take from: neither array may be indexed.
    data = Dataset("", (Paragraph("", "\u200e", (Question("q", " ", (), False),)),), ())
    features = build_features(data, tokenizer, WindowConfig())
    batch = features.gather(np.zeros(2, np.int32), 5, (0, 2, 3))
    assert batch["input_ids"].tolist() == [[2, 3, 3, 0, 0]] * 2
    assert batch["input_mask"].tolist() == [[1, 1, 1, 0, 0]] * 2
    assert batch["segment_ids"].tolist() == [[0, 0, 1, 0, 0]] * 2


def test_project_takes_the_pieces_that_the_answer_touches() -> None:
    starts, ends = np.array([0, 2, 5, 7], np.int32), np.array([2, 4, 7, 9], np.int32)
    assert project(Gold("가나", 0), starts, ends) == (0, 0)
    assert project(Gold("나다", 1), starts, ends) == (0, 1)
    assert project(Gold("마바사", 6), starts, ends) == (2, 3)
    assert project(Gold(" ", 4), starts, ends) is None  # between two pieces
    assert project(Gold("가", None), starts, ends) is None


def test_max_context_equals_a_plain_loop(squad_features: Features) -> None:
    features = squad_features
    found = max_context(features)
    bounds = np.concatenate([[0], np.cumsum(features.window_counts)])
    for question in range(len(features.question_contexts)):
        windows = np.flatnonzero(features.window_questions == question)
        context = features.question_contexts[question]
        for piece in range(np.diff(features.context_offsets)[context]):
            best, best_window = None, None
            for window in windows:
                first, count = features.window_first[window], features.window_counts[window]
                if first <= piece < first + count:
                    left, right = piece - first, first + count - piece - 1
                    score = min(left, right) + 0.01 * count
                    if best is None or score > best:
                        best, best_window = score, window
            for window in windows:
                place = piece - features.window_first[window]
                if 0 <= place < features.window_counts[window]:
                    assert found[bounds[window] + place] == (window == best_window)


def test_cached_features_are_made_once_and_again_when_something_changes(
    squad: Dataset, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    config = WindowConfig(max_seq_length=96, doc_stride=32, max_query_length=24)
    first = cached_features(squad, tokenizer, config, str(tmp_path))
    (path,) = tmp_path.glob("features-*.npz")
    written = path.stat().st_mtime_ns
    again = cached_features(squad, tokenizer, config, str(tmp_path))
    assert path.stat().st_mtime_ns == written
    for name in vars(first):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    other = WindowConfig(max_seq_length=96, doc_stride=16, max_query_length=24)
    cached_features(squad, tokenizer, other, str(tmp_path))
    assert len(list(tmp_path.glob("features-*.npz"))) == 2
    path.write_bytes(b"cut off")
    mended = cached_features(squad, tokenizer, config, str(tmp_path))
    assert np.array_equal(mended.context_ids, first.context_ids)


@pytest.mark.slow
def test_oracle_of_real_questions_reaches_99_2(data_folder: Path) -> None:
    dataset = read_dataset(str(data_folder / "korquad" / "train.json"))
    features = build_features(dataset, load_tokenizer(str(VOCAB)), WindowConfig())
    answers = {qas_id: span.text for qas_id, span in gold_spans(dataset, features).items()}
    assert score_predictions(dataset.golds(), answers).means["exact_match"] >= 99.2
