"""Reading, with a model that knows by heart which pieces are the answer."""

import itertools
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bert_ko.tasks.batches import BatchPlan
from bert_ko.tasks.squad.examples import NO_ANSWER, Dataset, Paragraph, Question, Span
from bert_ko.tasks.squad.features import WindowConfig, build_features
from bert_ko.tasks.squad.josa import JosaStripper
from bert_ko.tasks.squad.josa_rules import Stripped
from bert_ko.tasks.squad.predictions import PredictionConfig
from bert_ko.tasks.squad.reader import Reader, Reading
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary

PIECES = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("마을", "도서관", "##은", "언덕", "위", "##에", "있", "##다", "##.", "강가", "##는"),
    *("어디", "##인가", "##?", "무엇", "누구", "종이배", "##가", "뜬", "##뜬", "b", "##b", "<"),
    *("##>", "##<", "##/", "##마을", "##도서관", "##&", "##nbsp", "##;", "##위"),
)
CONTEXT = "마을 도서관은 언덕 위에 있다."
Batch = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def tiny() -> Tokenizer:
    return Tokenizer(Vocabulary(PIECES), TokenizerConfig())


class FakeModel:
    """Gives 10 to the ends of a question's answer wherever a window has it, elsewhere less.

    Args:
        tokenizer: of the batches.
        answers: question to answer; None, or one that a window does not have, is [CLS].
    """

    def __init__(self, tokenizer: Tokenizer, answers: dict[str, str | None]):
        self.shapes: list[tuple[int, ...]] = []
        self.rows: list[list[int]] = []
        self.answers = {
            tuple(tokenizer.encode(question).ids): tokenizer.encode(answer or "").ids
            for question, answer in answers.items()
        }

    def __call__(self, batch: Batch) -> Batch:
        assert list(batch) == ["input_ids", "input_mask", "segment_ids"]
        assert {array.dtype for array in batch.values()} == {np.dtype(np.int32)}
        self.shapes.append(batch["input_ids"].shape)
        logits = np.where(batch["input_mask"], 0, -10000).astype(np.float32)
        start, end = logits.copy(), logits.copy()
        for row, (ids, segments) in enumerate(
            zip(batch["input_ids"].tolist(), batch["segment_ids"].tolist(), strict=True)
        ):
            self.rows.append([i for i in ids if i])
            question = tuple(ids[1 : ids.index(3)])
            first, last = self.find(ids, segments, self.answers[question])
            start[row, first] = end[row, last] = 10
        return {"start_logits": start, "end_logits": end}

    @staticmethod
    def find(ids: list[int], segments: list[int], answer: list[int]) -> tuple[int, int]:
        size = len(answer)
        for first in range(segments.index(1), len(ids)) if size else ():
            if ids[first : first + size] == answer:
                return first, first + size - 1
        return 0, 0


def dataset(*contexts: str, questions: tuple[str, ...] = ("어디인가?",)) -> Dataset:
    """Every question on every context, numbered from q1 on."""
    numbers = itertools.count(1)
    return Dataset("", tuple(
        Paragraph("", context, tuple(
            Question(f"q{next(numbers)}", question, (), False) for question in questions
        ))
        for context in contexts
    ), ())  # fmt: skip


def make_reader(
    tokenizer: Tokenizer,
    model: Callable[[Batch], Batch],
    batch_size: int = 4,
    lengths: tuple[int, ...] = (64, 96),
    doc_stride: int = 8,
    stripper: JosaStripper | None = None,
    **answers: float,
) -> Reader:
    return Reader(
        tokenizer,
        WindowConfig(lengths[-1], doc_stride, max_query_length=8),
        BatchPlan(batch_size, (0, 2, 3), lengths),
        PredictionConfig(**answers),  # type: ignore[arg-type]
        stripper,
        model,
    )


def chosen(reading: Reading) -> dict[str, str]:
    """The answers before stripping."""
    return {qas_id: span.text for qas_id, span in reading.chosen.items()}


# Contexts


NFD = unicodedata.normalize("NFD", CONTEXT)


@pytest.mark.parametrize(
    ("context", "wanted", "answer", "span"),
    [
        (CONTEXT, "언덕 위", "언덕 위", (8, 12)),
        ("마을  도서관은 언덕  위에   있다.", "언덕 위", "언덕  위", (9, 14)),
        ("  \n마을 도서관은 언덕 위에 있다. ", "언덕 위", "언덕 위", (11, 15)),
        ("마을\t도서관은\t언덕\t\t위에 있다.", "언덕 위", "언덕\t\t위", (8, 13)),
        ("마을\u00a0도서관은\u00a0언덕\u00a0위에 있다.", "언덕 위", "언덕\u00a0위", (8, 12)),
        ("마을 도서관은\u3000언덕\u3000위에 있다.", "언덕 위", "언덕\u3000위", (8, 12)),
        ("\ufeff마을 도서관은 언덕\r\n위에 있다.", "언덕 위", "언덕\r\n위", (9, 14)),
        # What is between two characters of the answer belongs to it, what is around it does not.
        ("마을 도서관은 \u200e언\u200e덕 위\u200e에 있다.", "언덕 위", "언\u200e덕 위", (9, 14)),
        ("마을 도서관은 언덕\u200b \u00ad위에 있다.", "언덕 위", "언덕\u200b \u00ad위", (8, 14)),
        ("마을 도서관은 언\x00덕 위에 있다.", "언덕 위", "언\x00덕 위", (8, 13)),
        ("마을 도서관은 언\ud800덕 위에 있다.", "언덕 위", "언\ud800덕 위", (8, 13)),
        (NFD, "언덕 위", unicodedata.normalize("NFD", "언덕 위"), (17, 26)),
        # Remnants of HTML:
        ("<b>마을</b> 도서관은 언덕&nbsp;위에 있다.", "언덕&nbsp;위", "언덕&nbsp;위", (15, 24)),
        ("<b>마을</b> 도서관은 언덕 위에 있다.<br/>", "<b>마을</b>", "<b>마을</b>", (0, 9)),
        # A family is five characters, of which the two joiners are no part of a piece.
        ("👩‍👩‍👧 마을 도서관은 언덕 🏠 위에 있다.", "언덕 🏠 위", "언덕 🏠 위", (14, 20)),
    ],
)
def test_read_context_is_answered_character_for_character(
    context: str, wanted: str, answer: str, span: tuple[int, int], tiny: Tokenizer
) -> None:
    model = FakeModel(tiny, {"어디인가?": wanted})
    reading = make_reader(tiny, model).read(dataset(context))
    assert reading.chosen == reading.answers == {"q1": Span(answer, *span)}
    assert context[slice(*span)] == answer
    (prediction,) = reading.predictions
    assert (prediction.qas_id, prediction.null_odds) == ("q1", 0.0)
    best = prediction.candidates[0]
    assert (best.text, best.score, best.start_logit, best.end_logit) == (answer, 20, 10, 10)


@pytest.mark.parametrize("context", ["", " ", "\u00a0\t\n", "\u200e\ufeff"])
def test_read_context_without_pieces_has_no_answer(context: str, tiny: Tokenizer) -> None:
    for version_2 in (False, True):
        model = FakeModel(tiny, {"어디인가?": "언덕"})
        reader = make_reader(tiny, model, version_2_with_negative=version_2)
        reading = reader.read(dataset(context, CONTEXT))
        assert reading.answers == {"q1": NO_ANSWER, "q2": Span("언덕", 8, 10)}
        assert reader.read(dataset(context)).answers == {"q1": NO_ANSWER}
        assert model.rows[-4:] == [[2, 16, 17, 18, 3, 3]] * 4


def test_read_question_is_cut_or_without_pieces(tiny: Tokenizer) -> None:
    for asked, question in (("\u200e ", ""), ("마을 " * 9, "마을 " * 8)):
        model = FakeModel(tiny, {question: "강가"})
        data = dataset("강가에 종이배가 뜬다.", questions=(asked,))
        assert chosen(make_reader(tiny, model).read(data)) == {"q1": "강가"}


def test_read_no_questions_computes_nothing(tiny: Tokenizer) -> None:
    model = FakeModel(tiny, {})
    for data in (Dataset("", (), ()), dataset(CONTEXT, questions=())):
        reading = make_reader(tiny, model, stripper=JosaStripper()).read(data)
        assert (reading.predictions, reading.answers) == ([], {})
    assert model.shapes == []


# Windows and batches


def test_read_answer_in_a_later_window_is_found_and_placed(tiny: Tokenizer) -> None:
    context = "강가에 종이배가 뜬다. " * 6 + CONTEXT
    model = FakeModel(tiny, {"어디인가?": "언덕 위"})
    reading = make_reader(tiny, model, lengths=(24,), doc_stride=8).read(dataset(context))
    assert model.shapes == [(4, 24), (4, 24)]  # 8 windows, two of which have the answer
    assert reading.answers == {"q1": Span("언덕 위", 6 * 13 + 8, 6 * 13 + 12)}


QUESTIONS = ("어디인가?", "무엇인가?", "누구인가?")
ANSWERS: dict[str, str | None] = {
    "어디인가?": "언덕 위에",
    "무엇인가?": "도서관",
    "누구인가?": "종이배가",
}
LONG = f"{CONTEXT} " + "강가는 마을 위에 있다. " * 7 + "종이배가 뜬다."


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("lengths", [(96,), (16, 96), (64, 128)])
def test_read_batches_change_no_answer(
    batch_size: int, lengths: tuple[int, ...], tiny: Tokenizer
) -> None:
    model = FakeModel(tiny, ANSWERS)
    reader = make_reader(tiny, model, batch_size, lengths)
    found = reader.read(dataset(LONG, CONTEXT, questions=QUESTIONS)).answers
    place = LONG.index("종이배가")
    hill, library = Span("언덕 위에", 8, 13), Span("도서관", 3, 6)
    assert found.pop("q6") != NO_ANSWER  # it must say something
    assert list(found.values()) == [
        hill, library, Span("종이배가", place, place + 4), hill, library,
    ]  # fmt: skip
    assert {rows for rows, _ in model.shapes} == {batch_size}


@pytest.mark.parametrize(("lengths", "shortest"), [((64, 96), 64), ((96,), 96)])
def test_read_short_contexts_make_short_batches(
    lengths: tuple[int, ...], shortest: int, tiny: Tokenizer
) -> None:
    model = FakeModel(tiny, ANSWERS)
    make_reader(tiny, model, 3, lengths).read(dataset(LONG, CONTEXT, questions=QUESTIONS))
    assert model.shapes == [(3, 96), (3, shortest)]


def test_read_last_batch_is_filled_and_its_filling_says_nothing(tiny: Tokenizer) -> None:
    class Spoiling(FakeModel):
        def __call__(self, batch: Batch) -> Batch:
            outputs = super().__call__(batch)
            for array in outputs.values():
                array[2:] = 99  # rows of no window
            return outputs

    model = Spoiling(tiny, ANSWERS)
    reading = make_reader(tiny, model, 5).read(dataset(CONTEXT, questions=QUESTIONS[:2]))
    assert chosen(reading) == {"q1": "언덕 위에", "q2": "도서관"}
    assert model.shapes == [(5, 64)]
    assert model.rows[2:] == [model.rows[0]] * 3


def test_read_label_shows_the_windows(tiny: Tokenizer, capsys: pytest.CaptureFixture[str]) -> None:
    data = dataset(CONTEXT, LONG, questions=QUESTIONS)
    reader = make_reader(tiny, FakeModel(tiny, ANSWERS))
    features = build_features(data, tiny, reader.windows)
    reader.read(data, features)
    assert capsys.readouterr().err == ""
    reader.read(data, features, "answering")
    assert capsys.readouterr().err.startswith("answering: 6/6 windows (100 %), ")


# Version 2


def test_read_version_2_no_answer_is_empty_everywhere(tiny: Tokenizer) -> None:
    answers = {**ANSWERS, "무엇인가?": None}
    model = FakeModel(tiny, answers)
    reader = make_reader(tiny, model, version_2_with_negative=True, stripper=JosaStripper())
    reading = reader.read(dataset(CONTEXT, questions=QUESTIONS[:2]))
    assert chosen(reading) == {"q1": "언덕 위에", "q2": ""}
    assert reading.answers == {"q1": Span("언덕 위", 8, 12), "q2": NO_ANSWER}
    assert [p.null_odds for p in reading.predictions] == [-20, 20]


def test_read_version_2_window_that_has_the_answer_outdoes_those_without(tiny: Tokenizer) -> None:
    context = "강가에 종이배가 뜬다. " * 6 + CONTEXT
    model = FakeModel(tiny, {"어디인가?": "언덕 위"})
    reader = make_reader(tiny, model, lengths=(24,), version_2_with_negative=True)
    reading = reader.read(dataset(context))
    assert chosen(reading) == {"q1": "언덕 위"}
    assert reading.predictions[0].null_odds == -20  # of the window where silence is least likely


@pytest.mark.parametrize(
    ("version_2", "threshold", "answer"),
    [(True, 19.5, ""), (True, 20, "마을"), (True, 21, "마을"), (False, 0, "마을")],
)
def test_read_threshold_decides_in_version_2_alone(
    version_2: bool, threshold: float, answer: str, tiny: Tokenizer
) -> None:
    flags = {"version_2_with_negative": version_2, "null_score_diff_threshold": threshold}
    reader = make_reader(tiny, FakeModel(tiny, {"어디인가?": None}), **flags)
    assert chosen(reader.read(dataset(CONTEXT))) == {"q1": answer}


# Stripping and scores


class FixedStripper(JosaStripper):
    """Cuts the last character of answers that end in 은, 에 or 가."""

    def __init__(self) -> None:
        self.seen: list[Span] = []

    def analyze(self, context: str) -> Any:
        return context

    def strip(self, analysis: Any, span: Span) -> Stripped:
        self.seen.append(span)
        if span.text[-1] in "은에가":
            cut = Span(span.text[:-1], span.start, span.end - 1)
            return Stripped(cut, span.text[-1], "josa")
        return Stripped(span, "", "")


def test_read_stripper_shortens_texts_and_spans_and_nothing_else(tiny: Tokenizer) -> None:
    reader = make_reader(tiny, FakeModel(tiny, ANSWERS), stripper=FixedStripper())
    reading = reader.read(dataset(CONTEXT, questions=QUESTIONS[:2]))
    assert chosen(reading) == {"q1": "언덕 위에", "q2": "도서관"}
    assert reading.shortened == {"q1": Stripped(Span("언덕 위", 8, 12), "에", "josa")}
    assert reading.answers == {"q1": Span("언덕 위", 8, 12), "q2": Span("도서관", 3, 6)}
    assert reading.predictions[0].candidates[0].text == "언덕 위에"


def test_read_stripper_gets_the_place_of_the_pieces_not_the_first(tiny: Tokenizer) -> None:
    context = "언덕은 마을 위에 있다. 마을 도서관은 언덕 위에 있다."
    stripper, model = FixedStripper(), FakeModel(tiny, {"어디인가?": "언덕"})
    reader = make_reader(tiny, lambda batch: last_place(model, batch), stripper=stripper)
    reading = reader.read(dataset(context))
    place = context.rindex("언덕")
    assert stripper.seen == [Span("언덕", place, place + 2)]
    assert reading.answers == {"q1": Span("언덕", place, place + 2)}


def last_place(model: Callable[[Batch], Batch], batch: Batch) -> Batch:
    """The last occurrence of the first piece of the answer is the answer."""
    start = model(batch)["start_logits"]
    found = {"start_logits": np.zeros_like(start), "end_logits": np.zeros_like(start)}
    for row, ids in enumerate(batch["input_ids"]):
        place = np.flatnonzero(ids == ids[start[row].argmax()])[-1]
        found["start_logits"][row, place] = found["end_logits"][row, place] = 10
    return found


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_read_real_stripper_keeps_to_the_original(form: str, tiny: Tokenizer) -> None:
    context = unicodedata.normalize(form, "마을\u00a0도서관은  언덕  위에 있다.")  # type: ignore[arg-type]
    answer = unicodedata.normalize(form, "언덕  위")  # type: ignore[arg-type]
    model = FakeModel(tiny, {"어디인가?": "언덕 위에"})
    reading = make_reader(tiny, model, stripper=JosaStripper()).read(dataset(context))
    start = context.index(answer)
    assert reading.answers == {"q1": Span(answer, start, start + len(answer))}


def test_report_scores_the_answers_before_and_after_stripping(tiny: Tokenizer) -> None:
    data = dataset(CONTEXT, questions=QUESTIONS)
    reader = make_reader(tiny, FakeModel(tiny, ANSWERS), stripper=FixedStripper())
    report = reader.read(data).report({"q1": ["언덕 위"], "q2": ["마을 도서관"]})
    assert report.after.means == {"exact_match": 50, "f1": 50 * (1 + 2 * 3 / (3 + 5))}
    assert (report.after.total, report.after.extra) == (2, 1)
    assert report.before.means["exact_match"] == 0
    assert [(c.qas_id, c.before, c.after, c.effect) for c in report.changes] == [
        ("q1", "언덕 위에", "언덕 위", "better")
    ]


# Questions of no dataset


def test_answer_one_question_is_one_answer_with_its_place(tiny: Tokenizer) -> None:
    reader = make_reader(tiny, FakeModel(tiny, ANSWERS), stripper=FixedStripper(), n_best_size=2)
    answer = reader.answer("어디인가?", CONTEXT)
    assert (answer.text, answer.start, answer.end) == ("언덕 위", 8, 12)
    first = answer.candidates[0]
    assert (first.text, first.start, first.end) == ("언덕 위에", 8, 13)
    assert answer.probability == first.probability > 0.99
    assert len(answer.candidates) == 2


def test_answer_list_shares_a_context_or_has_one_for_each(tiny: Tokenizer) -> None:
    model = FakeModel(tiny, ANSWERS)
    reader = make_reader(tiny, model)
    found = reader.answer(list(QUESTIONS[:2]), CONTEXT)
    assert [(a.text, a.start) for a in found] == [("언덕 위에", 8), ("도서관", 3)]
    found = reader.answer(QUESTIONS[2:1:-1] + QUESTIONS[:1], ["종이배가 뜬다.", CONTEXT])
    assert [(a.text, a.start) for a in found] == [("종이배가", 0), ("언덕 위에", 8)]
    # Neighbours share their context; the answers come as they were asked.
    asked = [QUESTIONS[0], QUESTIONS[1], QUESTIONS[2], QUESTIONS[0]]
    found = reader.answer(asked, [CONTEXT, CONTEXT, "종이배가 뜬다.", CONTEXT])
    assert [a.text for a in found] == ["언덕 위에", "도서관", "종이배가", "언덕 위에"]
    assert reader.answer([], CONTEXT) == []
    assert len(model.shapes) == 3


def test_answer_none_is_empty_and_comes_before_the_other_candidates(tiny: Tokenizer) -> None:
    # Silence is chosen by the threshold, though it is not the likeliest.
    version_2 = {"version_2_with_negative": True, "null_score_diff_threshold": -30.0}
    reader = make_reader(tiny, FakeModel(tiny, ANSWERS), **version_2)
    answer = reader.answer("무엇인가?", CONTEXT)
    assert (answer.text, answer.start, answer.end) == ("", 0, 0)
    assert [candidate.text for candidate in answer.candidates[:2]] == ["", "도서관"]
    assert answer.probability == answer.candidates[0].probability < 0.01


def test_answer_other_number_of_contexts_is_an_error(tiny: Tokenizer) -> None:
    reader = make_reader(tiny, FakeModel(tiny, ANSWERS))
    with pytest.raises(ValueError) as error:
        reader.answer(list(QUESTIONS), [CONTEXT])
    assert str(error.value) == (
        "context must be one text, or one for each question: got 1 for 3 questions."
    )
