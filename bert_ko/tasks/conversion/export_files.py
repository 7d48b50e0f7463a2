"""The folder of an exported model: the model, its tokenizer, and a program that uses both.

model.onnx        or 1/, a SavedModel, the first version of a model for TensorFlow Serving
export.json       kind, inputs, outputs, labels, lengths
tokenizer/        a Hugging Face folder, with the code that opens it without transformers
example.py        runs where bert_ko is not installed
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bert_ko import files
from bert_ko.folders import folder_writer
from bert_ko.json_files import write_json
from bert_ko.tasks.conversion import comparison
from bert_ko.tasks.conversion.conversion import Conversion, require_place
from bert_ko.tasks.conversion.export import Export
from bert_ko.tokenization.hugging_face import write_hugging_face_tokenizer, write_rows_code
from bert_ko.training.backend import DeviceConfig, Predict
from bert_ko.training.devices import choose_backend, load_backend

ExportForm = Literal["onnx", "savedmodel"]
MODEL_NAME = "model.onnx"
EXPORT_NAME = "export.json"
EXAMPLE_NAME = "example.py"
TOKENIZER_NAME = "tokenizer"
VERSION = "1"
_FORMAT = 1
_HEADS: Mapping[ExportForm, str] = {"onnx": "onnx_head", "savedmodel": "saved_model_head"}
_EXAMPLES = "bert_ko.tasks.conversion.examples"
_IMPORTS = re.compile(r"^(?:import|from) .*\n+", re.MULTILINE)
_DOCSTRING = re.compile(r'\A""".*?"""\n+', re.DOTALL)
_PACKAGE = "bert_ko.tokenization.export."
_DEVICES = DeviceConfig(num_devices=1, precision="float32", attention="plain")
_MOST_BYTES = (1 << 31) - (1 << 20)  # of a file of protocol buffers; weights beyond it go beside


def require_packages(form: ExportForm) -> None:
    """Raises: ValueError: what the form needs is not installed."""
    if form == "savedmodel":
        if choose_backend() != "tensorflow":
            raise ValueError(
                "--to_format=savedmodel needs TensorFlow: pip install tensorflow, and set "
                "KERAS_BACKEND=tensorflow."
            )
        return
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"--to_format=onnx needs the package {package}: pip install 'bert_ko[onnx]'"
            )


def write_export(
    export: Export,
    conversion: Conversion,
    form: ExportForm,
    path: str,
    *,
    quantize: bool,
    compares: bool,
) -> list[str]:
    """Writes the folder of an exported model, which appears when all of it is there.

    Args:
        export: what to write.
        conversion: the model that it is of.
        form: of the model.
        path: of the folder.
        quantize: weights to int8; for ONNX alone.
        compares: whether its outputs are compared with ours on a few sentences before that.

    Returns:
        Lines about it for the user.

    Raises:
        ValueError: the outputs differ by more than ``comparison.LIMIT``, or the model uses an
            operation that the form does not have.
    """
    require_place(path)
    check = _Check(export, conversion) if compares else None
    lines = []
    with folder_writer(path, EXPORT_NAME) as folder:
        _write_model(export, form, folder)
        if check is not None:
            differences = check.differences(folder)
            comparison.refuse_difference(differences, conversion.source.path)
            lines.append(f"largest difference: {comparison.shown(differences)}")
        if quantize:
            _quantize(os.path.join(folder, MODEL_NAME))
        if quantize and check is not None:
            shown = comparison.shown(check.differences(folder))
            lines.append(f"largest difference of int8: {shown}")
        place = os.path.join(folder, TOKENIZER_NAME)
        length = conversion.config.max_position_embeddings
        write_hugging_face_tokenizer(place, conversion.tokenizer, length)
        write_rows_code(place)
        files.write_atomic(os.path.join(folder, EXAMPLE_NAME), example(export.kind, form))
        write_json(os.path.join(folder, EXPORT_NAME), _settings(export, is_quantized=quantize))
    lines.append(f"{export.kind}, {model_size(path) / 1e6:.1f} MB: see {path}/{EXAMPLE_NAME}")
    return lines


def model_size(path: str) -> int:
    """Bytes of the model in a folder."""
    found = [*Path(path).glob(f"{MODEL_NAME}*"), *Path(path, VERSION).rglob("*")]
    return sum(file.stat().st_size for file in found if file.is_file())


def _settings(export: Export, *, is_quantized: bool) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "kind": export.kind,
        "inputs": {name: list(axes) for name, axes in export.inputs.items()},
        "outputs": {name: list(axes) for name, axes in export.outputs.items()},
        "quantized": is_quantized,
        "kept_tokens": [],
        **export.settings,
    }


def example(kind: str, form: ExportForm) -> str:
    """The program beside a model of a kind.

    >>> print(example("reader", "onnx").splitlines()[0])
    \"\"\"Answers a question on a text: python example.py QUESTION TEXT.\"\"\"
    """
    head, body = map(_example_part, (_HEADS[form], kind))
    docstring = _DOCSTRING.match(body)
    assert docstring is not None
    head = head.replace("import json\n", "import json\nimport sys\n")  # as all bodies do
    head = _DOCSTRING.sub("", head).replace(_PACKAGE, f"{TOKENIZER_NAME}.bert_ko_")
    return f"{docstring[0]}{head}\n\n{_IMPORTS.sub('', body[docstring.end() :])}"


def _example_part(name: str) -> str:
    return Path(__file__).with_name("examples").joinpath(f"{name}.py").read_text(encoding="utf-8")


def _write_model(export: Export, form: ExportForm, folder: str) -> None:
    if form == "savedmodel":
        load_backend(_DEVICES)  # Keras is bound to TensorFlow before it is imported
        from bert_ko.training.saved_model import write_saved_model

        place = os.path.join(folder, VERSION)
        write_saved_model(place, export.config, export.arrays, export.compute, export.inputs)
        return
    import onnx

    from bert_ko.training.onnx_graph import onnx_model

    model = onnx_model(export.config, export.arrays, export.compute, export.inputs, export.outputs)
    num_bytes = sum(array.nbytes for array in export.arrays.values())
    onnx.save_model(
        model,
        os.path.join(folder, MODEL_NAME),
        save_as_external_data=num_bytes > _MOST_BYTES,
        location=f"{MODEL_NAME}.data",
    )


def _quantize(path: str) -> None:
    """Replaces a model by its quantized one."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = f"{path}.float32"
    os.rename(path, whole)
    logging.disable(logging.WARNING)  # it advises to run a pass that changes nothing here
    try:
        quantize_dynamic(whole, path, per_channel=True, weight_type=QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)
    os.remove(whole)


class _Check:
    """The outputs of our model for a few sentences, and those of an exported one."""

    def __init__(self, export: Export, conversion: Conversion):
        limit = conversion.config.max_position_embeddings
        batch = comparison.prepare_sentences(conversion.tokenizer, limit)
        if "masked_lm_positions" in export.inputs:
            batch["masked_lm_positions"] = np.tile(
                np.array([1, 3], np.int32), (len(batch["input_ids"]), 1)
            )
        predict = load_backend(_DEVICES).predictor(
            export.config, dict(export.arrays), export.compute
        )
        self._batch, self._wanted = batch, predict(batch)

    def differences(self, folder: str) -> dict[str, float]:
        """The largest one of each output of the model in a folder."""
        found, mask = open_export(folder)(self._batch), self._batch["input_mask"]
        return comparison.largest_difference(self._wanted, found, mask, None)


def open_export(folder: str) -> Predict:
    """The function of the model in a folder that ``write_export`` made; see Export.compute."""
    path = os.path.join(folder, MODEL_NAME)
    if not os.path.isfile(path):
        from bert_ko.training.saved_model import open_saved_model

        return open_saved_model(os.path.join(folder, VERSION))
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    inputs = {one.name for one in session.get_inputs()}

    def predict(batch: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        features = {name: array for name, array in batch.items() if name in inputs}
        return dict(zip(names, session.run(names, features), strict=True))

    return predict
