"""What a model guesses for [MASK] in fixed sentences, at every evaluation: guesses.jsonl."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from bert_ko import files
from bert_ko.messages import warn
from bert_ko.modeling.heads import MaskedLmHead
from bert_ko.tasks.fill_mask.masked_lm import MaskedLm
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.metrics import read_metrics
from bert_ko.training.task import Trained

GUESSES_NAME = "guesses.jsonl"
SENTENCES = (
    "대한민국의 수도는 [MASK]이다.",
    "책을 [MASK] 사람은 생각이 깊어진다.",
    "오늘은 하루 종일 [MASK]가 내렸다.",
    "아이들은 아침마다 학교에 [MASK].",
    "할머니[MASK] 옛날이야기를 들려주셨다.",
    "가을이 되면 나뭇잎이 [MASK].",
    "어제는 오랜 친구를 [MASK] 저녁을 먹었다.",
    "세종은 1443년에 [MASK]을 만들었다.",
)
_BEST = 3  # guesses that are kept


class Guesser:
    """Asks a model while it is trained; a failure is a warning and ends it."""

    def __init__(self, tokenizer: Tokenizer, most_pieces: int):
        """Most_pieces is the length of the longest sequence."""
        self._tokenizer, self._most_pieces = tokenizer, most_pieces
        self._asked: MaskedLm | None = None
        self._is_over = False

    def ask(self, model: Trained, folder: str, step: int) -> None:
        """Adds a line to the file; those of later steps, from before the run was resumed, go."""
        if self._is_over:
            return
        try:
            path = os.path.join(folder, GUESSES_NAME)
            kept = [record for record in read_metrics(path) if record["step"] < step]
            lines = [*kept, {"step": step, "guesses": self._guesses(model)}]
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            files.write_atomic(path, text)
        except Exception as error:  # the run is worth more than its page
            self._is_over = True
            warn(f"no more guesses for report.html ({type(error).__name__}: {error}).")

    def _guesses(self, model: Trained) -> Mapping[str, Any]:
        """The best pieces and their probabilities by sentence."""
        if self._asked is None:  # compiled once
            size = -(-len(SENTENCES) // model.num_devices) * model.num_devices
            predict = model.program.predictor(MaskedLmHead().outputs)
            self._asked = MaskedLm(self._tokenizer, self._most_pieces, predict, size)
        found = {}
        texts = []
        for sentence in SENTENCES:
            try:
                self._asked.prepare(sentence, "")
            except ValueError:  # too long for this model
                continue
            texts.append(sentence)
        for sentence, (mask,) in zip(
            texts, self._asked.fill_mask(texts, _BEST) if texts else [], strict=True
        ):
            found[sentence] = [[one.piece, round(one.probability, 4)] for one in mask.candidates]
        return found
