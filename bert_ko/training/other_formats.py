"""Weights in forms that are not read, and how each becomes one that is."""

from __future__ import annotations

from bert_ko.tensor_files import refuse_pointer

_SAVE = "save_pretrained(folder, safe_serialization=True)"
# By the end of a name: what it is, and what to do.
_FORMATS = {
    (".bin", ".pt", ".pth", ".pkl", ".ckpt"): (
        "a pickle, which can run any code when it is opened, and is not read",
        f"Convert it where you trust it: load it with transformers and call {_SAVE}.",
    ),
    (".h5", ".keras"): (
        "Keras's form of weights, which is not read",
        f"Load it with transformers 4, from_pretrained(folder, from_tf=True), and call {_SAVE}.",
    ),
    (".msgpack",): (
        "Flax's form of weights, which is not read",
        f"Load it with transformers 4, from_pretrained(folder, from_flax=True), and call {_SAVE}.",
    ),
    (".ot",): (
        "rust-bert's form of weights, which is not read",
        "Take the safetensors of the same model.",
    ),
    (".onnx", ".gguf", ".tflite", ".pb", ".pdparams", ".mlmodel"): (
        "an exported model, whose weights are not read",
        "Take the safetensors of the model that it was made of.",
    ),
}


def refuse_other_format(path: str) -> None:
    """Raises: ValueError: the name of a file says that it holds weights in another form."""
    for endings, (kind, remedy) in _FORMATS.items():
        if path.endswith(endings):
            refuse_pointer(path)
            raise ValueError(f"{path} is {kind}. {remedy}")
