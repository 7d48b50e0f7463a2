"""A biLM on one device and on two, under the backend of KERAS_BACKEND; prints what differs.

Run in a process of its own, as devices must be asked for before the first use.
"""

import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bert_ko.data.bilm_reader import BiLmReader, BiLmReaderConfig
from bert_ko.modeling.elmo import ElmoConfig
from bert_ko.modeling.heads import BiLmHead, carried_shapes, model_specs
from bert_ko.modeling.parameters import initial_parameters
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.devices import load_backend
from bert_ko.training.optimization import OptimizerConfig, hyperparameters
from tests.word_shards import MARKS, write_words

VOCABULARY = (*MARKS, "비", "가", "온다", "네", "눈", "이", "많이")
DOCUMENTS = [[["비", "가", "온다"], ["네"]], [["눈", "이", "많이", "온다"]]] * 20
BATCH, STEPS, PARTS = 8, 2, 2
CONFIG = ElmoConfig(
    vocab_size=len(VOCABULARY), hidden_size=8, num_hidden_layers=1, cell_size=6, filters=((1, 4),),
    highway_layers=1,
    character_embedding_size=4, hidden_dropout_prob=0.1,
)  # fmt: skip


def make_cpus() -> None:
    if os.environ["KERAS_BACKEND"] == "jax":
        import jax

        jax.config.update("jax_num_cpu_devices", 2)
        return
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def reader(path: str, num_groups: int, num_negatives: int = 0) -> BiLmReader:
    return BiLmReader(
        BiLmReaderConfig(
            (path,), BATCH, STEPS, CONFIG.vocab_size, "syllable", CONFIG.places,
            num_groups=num_groups, num_negatives=num_negatives,
        )
    )  # fmt: skip


def run(path: str, num_devices: int) -> dict[str, Any]:
    """Objectives of a few updates, slots, and what is predicted then."""
    head = BiLmHead(BATCH, is_sampled=True)
    backend = load_backend(DeviceConfig(num_devices=num_devices, precision="float32"))
    optimizer = OptimizerConfig(name="adamw", learning_rate=0.01, num_warmup_steps=0)
    arrays = initial_parameters(model_specs(CONFIG, head), 0.1, 1)
    program = backend.train_program(CONFIG, head, optimizer, arrays, 1)
    objectives = []
    batches = reader(path, PARTS * num_devices, num_negatives=5).batches()
    for step, batch in enumerate(itertools.islice(batches, 4)):
        split = {n: v.reshape(PARTS, -1, *v.shape[1:]) for n, v in batch.features.items()}
        scalars, hyper = head.denominators(batch.features), hyperparameters(optimizer, step)
        objectives.append(program.train_step(step, split, scalars, hyper)()["objective"])
        if step == 1:
            program.restore(program.parameters(), program.slots())
    states = {name: np.zeros(s, "f") for name, s in carried_shapes(head, CONFIG).items()}
    held_out = next(reader(path, num_devices).one_epoch()).features
    predicted = program.predictor(head.outputs)({**held_out, **states})
    return {"objectives": np.array(objectives), **program.slots(), **predicted}


def main(folder: str) -> None:
    make_cpus()
    path = write_words(Path(folder) / "words.tfrecord", DOCUMENTS, VOCABULARY)
    one, two = (run(path, count) for count in (1, 2))
    assert one.keys() == two.keys()
    difference = max(float(np.abs(one[name] - two[name]).max()) for name in one)
    found = {"difference": difference, "objectives": one["objectives"].tolist()}
    (Path(folder) / "found.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
