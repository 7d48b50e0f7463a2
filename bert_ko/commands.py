"""The commands, in the order of work, and how each is typed."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from types import MappingProxyType

UMBRELLA = "bert_ko"  # before the name of any command
# What each does, for a list. A command is a module of this package, which is not imported here.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "build_vocab": "text to a vocabulary",
        "tokenize": "what a vocabulary does to a text",
        "create_pretraining_data": "text to shards of pre-training data",
        "run_pretraining": "shards to a pre-trained model",
        "fill_mask": "what a pre-trained model expects in place of [MASK]",
        "run_squad": "a reader for KorQuAD, trained, asked and scored",
        "evaluate_korquad": "scores of answers to KorQuAD, from files",
        "run_classifier": "classes and scores of texts, trained and evaluated",
        "run_ner": "named entities, trained and evaluated",
        "extract_features": "vectors of texts",
        "convert_checkpoint": "a model in another form: TF1, Hugging Face, ONNX, SavedModel",
        "serve": "trained models over HTTP, as JSON and as a page",
    }
)
# Those that have no launcher of their own.
TOOLS: Mapping[str, str] = MappingProxyType(
    {
        "devices": "the devices that are seen and used, and how to get a GPU",
        "completion": "completion of commands and flags for bash, zsh or fish",
    }
)


def typed(command: str) -> str:
    """Returns how a command is typed where the running one was started: bin/run_squad."""
    path = sys.argv[0]
    folder, name = os.path.split(path)
    stem, extension = os.path.splitext(name)
    is_module = os.path.basename(folder) == UMBRELLA and extension == ".py"  # python -m
    if is_module and stem == "__main__":
        return f"python -m {UMBRELLA} {command}"
    if is_module and stem in {*COMMANDS, *TOOLS}:
        return f"python -m {UMBRELLA}.{command}"
    if name not in {*COMMANDS, UMBRELLA}:
        return f"{UMBRELLA} {command}"
    # What is found by its name alone is typed so.
    folder = "" if _is_same(shutil.which(name), path) else folder
    if name == UMBRELLA:
        return f"{shlex.quote(os.path.join(folder, name))} {command}"
    return shlex.quote(os.path.join(folder, command))


def _is_same(found: str | None, path: str) -> bool:
    try:
        return found is not None and os.path.samefile(found, path)
    except OSError:  # the folder that we are in has gone
        return False
