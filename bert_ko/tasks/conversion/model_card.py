"""README.md of a Hugging Face folder: what the model is, how it was trained, what it scores."""

from __future__ import annotations

import os
import shlex
from typing import Any

from bert_ko.json_files import expect, read_json
from bert_ko.modeling.config import ModelConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.results import RESULTS_NAME
from bert_ko.training.runs import RUN_NAME

# By the name of transformers' class without the encoder's prefix.
_PIPELINES = {
    "ForPreTraining": ("fill-mask", "AutoModelForMaskedLM"),
    "ForMaskedLM": ("fill-mask", "AutoModelForMaskedLM"),
    "ForQuestionAnswering": ("question-answering", "AutoModelForQuestionAnswering"),
    "ForSequenceClassification": ("text-classification", "AutoModelForSequenceClassification"),
    "ForNextSentencePrediction": ("text-classification", "AutoModelForNextSentencePrediction"),
    "ForTokenClassification": ("token-classification", "AutoModelForTokenClassification"),
    "Model": ("feature-extraction", "AutoModel"),
}
# Flags of one machine: its paths, its devices, how often it logs.
_LEFT_OUT = ("output_dir", "use_tpu", "num_tpu_cores", "log_every_steps", "iterations_per_loop")
_WORDS = {
    "mecab": "MeCab's morphemes in WordPiece",
    "sentencepiece": "SentencePiece",
    "wordpiece": "WordPiece",
}


def model_card(architecture: str, config: ModelConfig, tokenizer: Tokenizer, folder: str) -> str:
    """The text of the card for a class of transformers; with flags and scores of a run's folder."""
    task, auto_class = next(
        found for suffix, found in _PIPELINES.items() if architecture.endswith(suffix)
    )
    kind = tokenizer.config.tokenizer_type
    rows = {
        "layers": config.num_hidden_layers,
        "hidden size": config.hidden_size,
        "attention heads": config.to_dict().get("num_attention_heads"),
        "longest input": f"{config.max_position_embeddings} pieces",
        "vocabulary": f"{len(tokenizer.vocab):,} pieces, {_WORDS[kind]}",
    }
    mecab = " python-mecab-ko  # from Python 3.13 on: mecab-ko python-mecab-ko-dic"
    packages = {"mecab": mecab, "sentencepiece": " sentencepiece"}
    needs = f"pip install transformers torch{packages.get(kind, '')}"
    code = "" if kind == "wordpiece" else ", trust_remote_code=True"
    return "\n".join(
        [
            f"---\nlanguage: ko\nlibrary_name: transformers\npipeline_tag: {task}\n---\n",
            f"# A Korean {config.model_type.upper()} ({architecture})\n",
            "| | |\n|---|---|",
            *(f"| {name} | {value} |" for name, value in rows.items()),
            f"\n## Use\n\n```bash\n{needs}\n```\n\n```python",
            f"from transformers import {auto_class}, AutoTokenizer\n",
            f'tokenizer = AutoTokenizer.from_pretrained("THIS FOLDER"{code})',
            f'model = {auto_class}.from_pretrained("THIS FOLDER")\n```',
            *_training(folder),
            *_scores(folder),
            "\n## Data and licence\n",
            "To be completed: what text the model was trained on, and under which licence it is.\n",
        ]
    )


def _training(folder: str) -> list[str]:
    path = os.path.join(folder, RUN_NAME)
    run = read_json(path, advice=" Delete it, and the model card is written without it.")
    if run is None:
        return []
    flags = expect(run.get("flags", {}), dict, f"{path}: flags")
    given = [
        _flag(name, value)
        for name, value in sorted(flags.items())
        if name not in _LEFT_OUT and value not in (None, False, [], "")
    ]
    return ["\n## Training\n\n```text", *given, "```"]


def _flag(name: str, value: Any) -> str:
    if value is True:
        return f"--{name}"
    items = value if isinstance(value, list) else [value]
    # Paths are of one machine; the names of the files say what was used.
    shown = [os.path.basename(str(item)) if os.sep in str(item) else str(item) for item in items]
    return f"--{name}={shlex.quote(','.join(shown))}"


def _scores(folder: str) -> list[str]:
    path = os.path.join(folder, RESULTS_NAME)
    if not os.path.isfile(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        pairs = [line.rstrip("\n").partition(" = ") for line in file if " = " in line]
    return [
        "\n## Scores\n\n| | |\n|---|---|",
        *(f"| {name} | {value} |" for name, _, value in pairs),
    ]
