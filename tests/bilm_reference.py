"""A biLM's forward pass in numpy, with data sets and options by bilm-tf's names.

Written from the facts about bilm-tf alone, one word and one step at a time.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BEGIN_SENTENCE, END_SENTENCE, BEGIN_WORD, END_WORD, PADDING = 256, 257, 258, 259, 260
OPTIONS = {
    "bidirectional": True,
    "char_cnn": {
        "activation": "relu",
        "embedding": {"dim": 4},
        "filters": [[1, 4], [2, 8], [3, 6]],
        "max_characters_per_token": 12,
        "n_characters": 262,
        "n_highway": 2,
    },
    "dropout": 0.1,
    "lstm": {
        "cell_clip": 2,
        "dim": 16,
        "n_layers": 2,
        "proj_clip": 1,
        "projection_dim": 6,
        "use_skip_connections": True,
    },
    "n_tokens_vocab": 50,
}


def random_weights(options: Mapping[str, Any], seed: int = 0) -> dict[str, Array]:
    """All data sets; large enough that cells and projections are clipped now and then."""
    rng = np.random.default_rng(seed)
    cnn, lstm = options["char_cnn"], options["lstm"]
    size, units, cells = cnn["embedding"]["dim"], lstm["projection_dim"], lstm["dim"]
    total = sum(number for _, number in cnn["filters"])
    shapes: dict[str, tuple[int, ...]] = {"char_embed": (261, size)}
    for i, (width, number) in enumerate(cnn["filters"]):
        shapes[f"CNN/W_cnn_{i}"] = (1, width, size, number)
        shapes[f"CNN/b_cnn_{i}"] = (number,)
    for i in range(cnn["n_highway"]):
        for name in ("carry", "transform"):
            shapes[f"CNN_high_{i}/W_{name}"] = (total, total)
            shapes[f"CNN_high_{i}/b_{name}"] = (total,)
    shapes |= {"CNN_proj/W_proj": (total, units), "CNN_proj/b_proj": (units,)}
    for direction in range(2):
        for layer in range(lstm["n_layers"]):
            place = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            shapes[f"{place}/W_0"] = (2 * units, 4 * cells)
            shapes[f"{place}/B"] = (4 * cells,)
            shapes[f"{place}/W_P_0"] = (cells, units)
    return {name: rng.normal(0, 0.6, shape).astype(np.float32) for name, shape in shapes.items()}


def write_published(folder: Path, options: Mapping[str, Any], **changed: Any) -> Path:
    """A model as bilm-tf writes it, with random weights; None for a data set that is missing."""
    folder.mkdir()
    (folder / "options.json").write_text(json.dumps(options), encoding="utf-8")
    with h5py.File(folder / "weights.hdf5", "w") as file:
        for name, value in {**random_weights(OPTIONS), **changed}.items():
            if value is not None:
                file.create_dataset(name, data=value)
    return folder


def character_ids(word: str | int, places: int) -> list[int]:
    """Of a word, or of a mark of the sentence."""
    inside = [word] if isinstance(word, int) else list(word.encode())[: places - 2]
    ids = [BEGIN_WORD, *inside, END_WORD]
    return ids + [PADDING] * (places - len(ids))


def word_vector(weights: Mapping[str, Array], options: Mapping[str, Any], ids: Any) -> Array:
    """[P], of the characters of a word."""
    embedded = weights["char_embed"].astype(float)[ids]  # [K, E]
    found = []
    for i, (width, _) in enumerate(options["char_cnn"]["filters"]):
        kernel = weights[f"CNN/W_cnn_{i}"][0].astype(float)
        windows = [
            np.einsum("we,wef->f", embedded[start : start + width], kernel)
            for start in range(len(ids) - width + 1)
        ]
        found.append(np.maximum(np.max(windows, axis=0) + weights[f"CNN/b_cnn_{i}"], 0))
    x = np.concatenate(found)
    for i in range(options["char_cnn"]["n_highway"]):
        carry, transform = (
            x @ weights[f"CNN_high_{i}/W_{name}"] + weights[f"CNN_high_{i}/b_{name}"]
            for name in ("carry", "transform")
        )
        gate = _sigmoid(carry)
        x = gate * np.maximum(transform, 0) + (1 - gate) * x
    return np.asarray(x @ weights["CNN_proj/W_proj"] + weights["CNN_proj/b_proj"])


def run(
    weights: Mapping[str, Array], options: Mapping[str, Any], direction: int, vectors: Array
) -> list[Array]:
    """The output of each layer [T, P] over vectors [T, P] in the direction's own order."""
    lstm, found = options["lstm"], []
    for layer in range(lstm["n_layers"]):
        place = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
        kernel, bias, projection = (weights[f"{place}/{n}"] for n in ("W_0", "B", "W_P_0"))
        cell, hidden, outputs = np.zeros(lstm["dim"]), np.zeros(lstm["projection_dim"]), []
        for x in vectors:
            i, new, forget, out = np.split(np.concatenate([x, hidden]) @ kernel + bias, 4)
            cell = _sigmoid(forget + 1.0) * cell + _sigmoid(i) * np.tanh(new)
            cell = np.clip(cell, -lstm["cell_clip"], lstm["cell_clip"])
            hidden = (_sigmoid(out) * np.tanh(cell)) @ projection
            hidden = np.clip(hidden, -lstm["proj_clip"], lstm["proj_clip"])
            outputs.append(hidden + (x if layer and lstm["use_skip_connections"] else 0))
        vectors = np.stack(outputs)
        found.append(vectors)
    return found


def layers(weights: Mapping[str, Array], options: Mapping[str, Any], sentence: list[str]) -> Array:
    """[layers + 1, words, 2 P] of a sentence without its marks."""
    places = options["char_cnn"]["max_characters_per_token"]
    marked: list[str | int] = [BEGIN_SENTENCE, *sentence, END_SENTENCE]
    vectors = np.stack(
        [word_vector(weights, options, character_ids(word, places)) for word in marked]
    )
    pairs = [(vectors, vectors)]
    backward = [output[::-1] for output in run(weights, options, 1, vectors[::-1])]
    pairs += zip(run(weights, options, 0, vectors), backward, strict=True)
    return np.stack([np.concatenate(pair, axis=1)[1:-1] for pair in pairs])


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))
