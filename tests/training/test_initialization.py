"""--init_checkpoint: the values of every source land where they belong, and what is refused."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.heads import (
    LABEL_VARIABLES,
    ClassHead,
    PretrainingHead,
    SpanHead,
    TagHead,
    model_specs,
)
from bert_ko.modeling.parameters import initial_parameters
from bert_ko.training.checkpoints import Checkpoint, save_checkpoint
from bert_ko.training.initialization import (
    Source,
    describe,
    initialize,
    read_source,
    without_other_labels,
)
from bert_ko.training.labels import write_labels

SIZES = {
    "vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 12, "max_position_embeddings": 16,
}  # fmt: skip
CONFIG = BertConfig(**SIZES)  # type: ignore[arg-type]
SPECS = model_specs(CONFIG, PretrainingHead())
TAGS = ("O", "B-가", "I-가")
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def weights() -> Arrays:
    """Other random numbers for every variable, biases too."""
    rng = np.random.default_rng(1)
    return {name: rng.standard_normal(spec.shape, np.float32) for name, spec in SPECS.items()}


def new() -> Arrays:
    return initial_parameters(SPECS, 0.02, seed=2)


def assert_equal(found: Arrays, wanted: Arrays) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def save(folder: Path, step: int, weights: Arrays, config: BertConfig = CONFIG) -> str:
    state = {"step": step, "tokenizer_fingerprint": "abc"}
    return save_checkpoint(str(folder), step, Checkpoint(weights, {}, state), config, 0)


# Our own checkpoints


def test_read_source_run_folder_is_its_last_checkpoint(tmp_path: Path, weights: Arrays) -> None:
    first = save(tmp_path, 900, new())
    last = save(tmp_path, 1000, weights)
    assert read_source(str(tmp_path)).labels is None
    write_labels(str(tmp_path), ("가", "나"))
    for path in (str(tmp_path), last, f"{last}/model.safetensors"):
        source = read_source(path)
        assert (source.path, source.kind) == (last, "checkpoint of step 1,000")
        assert (source.fingerprint, source.config) == ("abc", CONFIG)
        assert (source.folder, source.labels) == (str(tmp_path), ("가", "나"))
        found = initialize(SPECS, new(), source, "model.json")
        assert_equal(found.arrays, weights)
        assert (found.loaded, found.new, found.unused) == (list(SPECS), [], [])
        assert describe(found, source) == (
            f"{last} (checkpoint of step 1,000): {len(SPECS)} variables loaded, 0 new, 0 not used"
        )
    assert_equal(read_source(first).arrays, new())


def test_initialize_reports_what_is_new_and_what_is_not_used(weights: Arrays) -> None:
    arrays = {k: v for k, v in weights.items() if not k.startswith("cls/")}
    arrays["bert/encoder/layer_2/output/dense/bias"] = np.zeros(8, np.float32)
    source = Source("there", "test", arrays)
    found = initialize(SPECS, new(), source, "model.json")
    heads = [name for name in SPECS if name.startswith("cls/")]
    assert_equal(found.arrays, {**weights, **{name: new()[name] for name in heads}})
    lines = describe(found, source).splitlines()
    assert lines[0] == f"there (test): {len(SPECS) - 7} variables loaded, 7 new, 1 not used"
    assert lines[1:] == [
        f"  new: {', '.join(heads)}",
        "  not used (of other layers): bert/encoder/layer_2/output/dense/bias",
    ]
    source = source._replace(arrays=weights, left_out={"output_bias": "it is another's"})
    encoder_alone = model_specs(CONFIG)
    lines = describe(initialize(encoder_alone, new(), source, "x"), source).splitlines()
    shown = sorted(name for name in weights if name not in encoder_alone)
    assert lines[1:] == [
        f"  not used (of other heads): {', '.join(shown[:8])} and 1 more",
        "  not used (it is another's): output_bias",
    ]


def test_initialize_values_are_copies_in_float32(weights: Arrays) -> None:
    arrays = {name: array.astype(np.float16) for name, array in weights.items()}
    found = initialize(SPECS, new(), Source("x", "x", arrays), "x").arrays
    assert_equal(found, {k: v.astype(np.float32) for k, v in arrays.items()})
    assert all(array.flags["C_CONTIGUOUS"] for array in found.values())


# Heads for labels


HEADS = {
    "classes": model_specs(CONFIG, ClassHead(3)),
    "tags": model_specs(CONFIG, TagHead(TAGS, use_crf=True)),
    "spans": model_specs(CONFIG, SpanHead()),
}


def head_source(kind: str, labels: Any = ("가", "나", "다")) -> Source:
    return Source("there", "test", initial_parameters(HEADS[kind], 0.02, 1), labels=labels)


@pytest.mark.parametrize("kind", ["classes", "tags"])
@pytest.mark.parametrize(
    ("stored", "wanted", "is_kept"),
    [
        (("가", "나", "다"), ("가", "나", "다"), True),
        (None, ("가", "나", "다"), True),  # nothing says that they are others
        (("다", "나", "가"), ("가", "나", "다"), False),
        (("가", "나", "라"), ("가", "나", "다"), False),
        ((), ("가", "나", "다"), False),
    ],
)
def test_without_other_labels_keeps_the_head_of_the_same(
    stored: Any, wanted: Any, is_kept: bool, kind: str
) -> None:
    source, specs = head_source(kind, stored), HEADS[kind]
    found = without_other_labels(source, specs, wanted)
    heads = [name for name in specs if name in LABEL_VARIABLES]
    assert len(heads) == (2 if kind == "classes" else 5)
    gone = [] if is_kept else heads
    assert list(found.arrays) == [name for name in specs if name not in gone]
    assert all(found.arrays[name] is source.arrays[name] for name in found.arrays)
    assert found._replace(arrays={}) == source._replace(arrays={})


def test_without_other_labels_head_of_another_size_goes() -> None:
    bare = Source("there", "test", head_source("classes").arrays)
    for count, labels in ((2, ("가", "나")), (1, ())):
        specs = model_specs(CONFIG, ClassHead(count))
        found = without_other_labels(bare, specs, labels).arrays
        assert set(bare.arrays) - set(found) == {"output_weights", "output_bias"}


def test_without_other_labels_what_the_model_does_not_have_stays_to_be_named(
    weights: Arrays,
) -> None:
    plain = model_specs(CONFIG, TagHead(TAGS))
    for source, specs, labels in (
        (head_source("classes"), HEADS["tags"], ("라",)),
        (head_source("classes"), HEADS["spans"], None),
        (head_source("tags"), plain, ("가", "나", "다")),  # without the CRF
        (Source("there", "test", weights, labels=("가",)), HEADS["classes"], ("나",)),
    ):
        assert without_other_labels(source, specs, labels) == source


def test_initialize_other_number_of_labels_is_said() -> None:
    with pytest.raises(ValueError) as error:
        initialize(model_specs(CONFIG, ClassHead(2)), {}, head_source("classes"), "model.json")
    assert str(error.value) == (
        "--init_checkpoint: there is for 3 labels, but the task has 2; it was trained for another "
        "one. Give --do_train to begin with a new head."
    )
    wide = {**head_source("classes").arrays, "output_weights": np.zeros((3, 9), np.float32)}
    with pytest.raises(ValueError, match="likely hidden_size or another size differs"):
        initialize(HEADS["classes"], {}, Source("there", "x", wide), "model.json")


@pytest.mark.parametrize(
    ("name", "shape", "likely"),
    [
        ("bert/embeddings/word_embeddings", (70, 8),
         "vocab_size: the checkpoint has 70 pieces, the config 50"),
        ("cls/predictions/output_bias", (32000,),
         "vocab_size: the checkpoint has 32,000 pieces, the config 50"),
        ("bert/embeddings/position_embeddings", (512, 8),
         "max_position_embeddings: the checkpoint has 512, the config 16"),
        ("bert/pooler/dense/kernel", (9, 9), "hidden_size or another size differs"),
    ],
)  # fmt: skip
def test_initialize_other_shape_has_both_and_the_likely_cause(
    name: str, shape: tuple[int, ...], likely: str, weights: Arrays
) -> None:
    arrays = {**weights, name: np.zeros(shape, np.float32)}
    with pytest.raises(ValueError) as error:
        initialize(SPECS, new(), Source("there", "x", arrays), "model.json")
    assert str(error.value) == (
        f"--init_checkpoint: {name} has shape {list(shape)} in there, but "
        f"{list(SPECS[name].shape)} by model.json; likely {likely}. Use the bert_config.json of "
        "the checkpoint, or another checkpoint."
    )


def test_initialize_other_model_is_refused() -> None:
    arrays = {f"resnet/{i}": np.zeros(1, np.float32) for i in range(9)}
    message = (
        "there has no variable of this encoder, such as bert/embeddings/word_embeddings; it has "
        "resnet/0, resnet/1, resnet/2 …"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        initialize(SPECS, new(), Source("there", "x", arrays), "model.json")


# What is refused


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth", "a.pkl"])
@pytest.mark.parametrize("in_folder", [True, False])
def test_read_source_pickle_is_never_opened(name: str, in_folder: bool, tmp_path: Path) -> None:
    # Opened, it would make a file.
    trap = f"cos\nsystem\n(S'touch {tmp_path}/trapped'\ntR."
    (tmp_path / name).write_text(trap)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError) as error:
        read_source(str(tmp_path if in_folder else tmp_path / name))
    assert str(error.value).startswith(
        f"--init_checkpoint: {tmp_path}/{name} is a pickle, which can run any code"
    )
    assert "save_pretrained(folder, safe_serialization=True)" in str(error.value)
    assert not (tmp_path / "trapped").exists()


def test_read_source_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"nothing at {tmp_path}/nowhere: no folder with"):
        read_source(f"{tmp_path}/nowhere")
    (tmp_path / "notes.txt").write_text("가\n")
    with pytest.raises(ValueError, match=r"notes\.txt holds no weights; give a folder with"):
        read_source(f"{tmp_path}/notes.txt")
    with pytest.raises(FileNotFoundError, match=f"no weights in the folder {tmp_path}"):
        read_source(str(tmp_path))


def test_read_source_folder_of_tf1_checkpoints_asks_which(tmp_path: Path) -> None:
    for name in ("model.ckpt-20", "model.ckpt-30"):
        (tmp_path / f"{name}.index").touch()
    message = f"name one of them: {tmp_path}/model.ckpt-20, {tmp_path}/model.ckpt-30."
    with pytest.raises(ValueError, match=re.escape(message)):
        read_source(str(tmp_path))


def test_read_source_damaged_file_is_an_error(tmp_path: Path, weights: Arrays) -> None:
    path = Path(save(tmp_path, 1, weights), "model.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=f"{path} is damaged or not a safetensors file"):
        read_source(str(tmp_path))


# Hugging Face, by files as transformers writes them


def to_hugging_face(weights: Arrays) -> Arrays:
    """The inverse of what is tested, written down once more from transformers' names."""
    names = {
        "cls/predictions/output_bias": "cls.predictions.bias",
        "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
        "cls/seq_relationship/output_bias": "cls.seq_relationship.bias",
    }
    converted = {}
    for name, array in weights.items():
        target = re.sub(r"layer_(\d+)", r"layer.\1", name).replace("/", ".")
        target = re.sub(r"(gamma|kernel)$", "weight", target)
        target = re.sub(r"beta$", "bias", target)
        target += ".weight" if target.endswith("embeddings") else ""
        array = array.T if name.endswith("kernel") else array
        converted[names.get(name, target)] = np.ascontiguousarray(array)
    return converted


def hugging_face_folder(folder: Path, arrays: Arrays, **config: Any) -> str:
    folder.mkdir(exist_ok=True)
    save_file(arrays, folder / "model.safetensors")
    values = {"model_type": "bert", **SIZES, **config}
    (folder / "config.json").write_text(json.dumps(values))
    return str(folder)


def without_prefix(arrays: Arrays) -> Arrays:
    """Of the encoder alone."""
    return {k.removeprefix("bert."): v for k, v in arrays.items() if k.startswith("bert.")}


def with_old_names(arrays: Arrays) -> Arrays:
    pattern = r"LayerNorm\.(weight|bias)$"
    old = {"weight": "LayerNorm.gamma", "bias": "LayerNorm.beta"}
    return {re.sub(pattern, lambda match: old[match[1]], k): v for k, v in arrays.items()}


def with_copies(arrays: Arrays) -> Arrays:
    return {
        **arrays,
        "bert.embeddings.position_ids": np.arange(16),
        "cls.predictions.decoder.weight": arrays["bert.embeddings.word_embeddings.weight"],
        "classifier.weight": np.zeros((2, 8), np.float32),
    }


@pytest.mark.parametrize("form", [with_copies, with_old_names, without_prefix])
def test_read_source_hugging_face_folder(
    form: Callable[[Arrays], Arrays], tmp_path: Path, weights: Arrays
) -> None:
    arrays = form(to_hugging_face(weights))
    source = read_source(hugging_face_folder(tmp_path, arrays))
    assert (source.kind, source.fingerprint) == ("Hugging Face folder", None)
    found = initialize(SPECS, new(), source, "x")
    heads = [name for name in SPECS if form is without_prefix and name.startswith("cls/")]
    assert_equal(found.arrays, {**weights, **{name: new()[name] for name in heads}})
    unused = ["output_weights"] if form is with_copies else []
    assert (found.new, found.unused) == (heads, unused)


def test_read_source_hugging_face_in_parts(tmp_path: Path, weights: Arrays) -> None:
    items = list(to_hugging_face(weights).items())
    folder = hugging_face_folder(tmp_path, {})
    (tmp_path / "model.safetensors").unlink()
    for number, part in enumerate((items[:9], items[9:]), 1):
        save_file(dict(part), tmp_path / f"model-{number:05d}-of-00002.safetensors")
    assert_equal(initialize(SPECS, new(), read_source(folder), "x").arrays, weights)


@pytest.mark.parametrize(("theirs", "ours"), [("gelu", "gelu_erf"), ("gelu_new", "gelu")])
def test_read_source_hugging_face_activation_in_our_terms(
    theirs: str, ours: str, tmp_path: Path, weights: Arrays
) -> None:
    folder = hugging_face_folder(tmp_path, to_hugging_face(weights), hidden_act=theirs)
    config = read_source(folder).config
    assert config is not None and config.hidden_act == ours


def test_read_source_hugging_face_integers_are_refused(tmp_path: Path, weights: Arrays) -> None:
    name = "bert.encoder.layer.0.output.dense.weight"
    arrays = {**to_hugging_face(weights), name: np.ones((2, 2), np.int8)}
    folder = hugging_face_folder(tmp_path, arrays)
    with pytest.raises(ValueError) as error:
        read_source(folder)
    assert str(error.value) == (
        f"--init_checkpoint: {folder}/model.safetensors: {name} is int8; weights must be "
        "one of float16, bfloat16, float32, float64."
    )


def test_read_source_hugging_face_other_models_are_refused(tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path, {}, model_type="roberta")
    with pytest.raises(ValueError, match="model_type 'roberta' is not known; known are bert, elmo"):
        read_source(folder)
    (tmp_path / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"but no config\.json"):
        read_source(folder)


@pytest.mark.slow
def test_read_source_transformers_models(tmp_path: Path) -> None:
    import torch
    import transformers

    config = transformers.BertConfig(**SIZES)
    torch.manual_seed(1)
    model = transformers.BertForPreTraining(config)
    for parameter in model.parameters():  # biases and norms, too
        torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path / "both")
    model.bert.save_pretrained(tmp_path / "encoder")
    state = {name: value.numpy() for name, value in model.state_dict().items()}

    found = initialize(SPECS, new(), read_source(str(tmp_path / "both")), "x")
    assert (found.new, found.unused) == ([], [])
    assert len(found.loaded) == len(list(model.parameters()))
    arrays = found.arrays
    layer, ours = "bert.encoder.layer.1.", "bert/encoder/layer_1/"
    for name, theirs in (
        (f"{ours}attention/self/value/kernel", state[f"{layer}attention.self.value.weight"].T),
        (f"{ours}attention/self/value/bias", state[f"{layer}attention.self.value.bias"]),
        (f"{ours}intermediate/dense/kernel", state[f"{layer}intermediate.dense.weight"].T),
        (f"{ours}output/LayerNorm/gamma", state[f"{layer}output.LayerNorm.weight"]),
        ("bert/embeddings/word_embeddings", state["cls.predictions.decoder.weight"]),
        ("bert/embeddings/position_embeddings",
         state["bert.embeddings.position_embeddings.weight"]),
        ("cls/predictions/output_bias", state["cls.predictions.decoder.bias"]),
        ("cls/predictions/transform/LayerNorm/beta",
         state["cls.predictions.transform.LayerNorm.bias"]),
        ("cls/seq_relationship/output_weights", state["cls.seq_relationship.weight"]),
    ):  # fmt: skip
        np.testing.assert_array_equal(arrays[name], theirs, err_msg=name)

    encoder = initialize(SPECS, new(), read_source(str(tmp_path / "encoder")), "x")
    assert encoder.new == [name for name in SPECS if name.startswith("cls/")]
    for name in encoder.loaded:
        np.testing.assert_array_equal(encoder.arrays[name], arrays[name])

    model.to(torch.bfloat16).save_pretrained(tmp_path / "half")
    half = initialize(SPECS, new(), read_source(str(tmp_path / "half")), "x").arrays
    for name, array in arrays.items():
        np.testing.assert_allclose(half[name], array, rtol=1 / 128)
    assert load_file(tmp_path / "both/model.safetensors").keys() == to_hugging_face(arrays).keys()


# TensorFlow 1


@pytest.fixture(scope="module")
def tf1_prefix(weights: Arrays, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint as Google's run_pretraining writes it."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("tf1")
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        for name, array in weights.items():
            v1.get_variable(name, initializer=array)
            for slot in ("adam_m", "adam_v"):
                v1.get_variable(f"{name}/{slot}", initializer=np.zeros_like(array))
        v1.get_variable("global_step", initializer=np.int64(1000))
        v1.get_variable("bert/embeddings/adam_vector", initializer=np.zeros(3, np.float32))
        session.run(v1.global_variables_initializer())
        return str(v1.train.Saver().save(session, str(folder / "bert_model.ckpt")))


@pytest.mark.slow
def test_read_source_tf1_checkpoint(tf1_prefix: str, weights: Arrays) -> None:
    for path in ("", ".index", ".meta", ".data-00000-of-00001"):
        source = read_source(tf1_prefix + path)
        assert (source.path, source.kind) == (tf1_prefix, "TF1 checkpoint")
        found = initialize(SPECS, new(), source, "x")
        assert_equal(found.arrays, weights)
        # Neither slots nor the step; and what only looks like one is named.
        assert (found.new, found.unused) == ([], ["bert/embeddings/adam_vector"])
    folder = str(Path(tf1_prefix).parent)
    with pytest.raises(ValueError, match=f"holds TF1 checkpoints; name one of them: {tf1_prefix}"):
        read_source(folder)


@pytest.mark.slow
def test_read_source_damaged_tf1_checkpoint_is_an_error(tf1_prefix: str, tmp_path: Path) -> None:
    for path in Path(tf1_prefix).parent.iterdir():
        shutil.copy(path, tmp_path)
    index = tmp_path / "bert_model.ckpt.index"
    index.write_bytes(index.read_bytes()[:-50])
    with pytest.raises(
        ValueError, match=rf"^--init_checkpoint: {tmp_path}\S+ can't be read; it is"
    ):
        read_source(str(tmp_path / "bert_model.ckpt"))
