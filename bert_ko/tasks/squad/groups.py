"""What groups of questions there are: by what they ask for, and where pieces are [UNK].

Legend: Q questions.
"""

from __future__ import annotations

import numpy as np

from bert_ko.tasks.squad.features import Features
from bert_ko.tokenization.unknown import have_unknown

# The first that a question has counts; "who" before "what", since 누가 is never part of another.
QUESTION_WORDS = (
    "누구", "누가", "언제", "어디", "무엇", "무슨", "왜", "어떻게", "어떤", "어느", "얼마", "몇",
)  # fmt: skip
OTHER = "others"
# Where a question has [UNK]; an answer is a part of its context.
UNKNOWN_PLACES = ("in the question", "in the gold answer", "in the context", "nowhere")


def question_word(question: str) -> str:
    """Returns the question word, or OTHER."""
    return next((word for word in QUESTION_WORDS if word in question), OTHER)


def unknown_places(features: Features, unk_id: int) -> list[tuple[str, ...]]:
    """Returns of each question, Q, where it has [UNK]: some of UNKNOWN_PLACES."""
    contexts = features.question_contexts
    first = features.context_offsets[contexts]
    is_known = features.answer_first >= 0
    in_question = have_unknown(
        features.question_ids, unk_id, features.question_offsets[:-1], features.question_offsets[1:]
    )
    in_answer = is_known & have_unknown(
        features.context_ids,
        unk_id,
        first + np.where(is_known, features.answer_first, 0),
        first + np.where(is_known, features.answer_last + 1, 0),
    )
    in_context = have_unknown(
        features.context_ids, unk_id, first, features.context_offsets[contexts + 1]
    )
    found = np.stack([in_question, in_answer, in_context, ~(in_question | in_context)], axis=1)
    return [
        tuple(name for name, is_in in zip(UNKNOWN_PLACES, row, strict=True) if is_in)
        for row in found.tolist()
    ]
