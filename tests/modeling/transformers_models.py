"""Models of transformers with our weights, and their gradients under our names."""

from typing import Any

import numpy as np

from bert_ko.modeling.bert import BertConfig, to_hugging_face_config
from bert_ko.modeling.encoder import BERT
from bert_ko.modeling.parameters import Arrays
from bert_ko.training.hugging_face import from_hugging_face


class TransformersModel:
    """A model of transformers in place of ours."""

    def __init__(self, kind: str, config: BertConfig, arrays: Arrays, **settings: Any):
        """Args: kind: name of the class behind "Bert"; settings: of transformers' own."""
        import torch
        import transformers

        values = to_hugging_face_config(config)
        class_ = getattr(transformers, f"Bert{kind}")
        self.model = class_(transformers.BertConfig(**values, **settings)).eval()
        has_tags = kind == "ForTokenClassification"
        names = {key: from_hugging_face(key, BERT, has_tags) for key in self.model.state_dict()}
        # Copies and buffers have no name of Google's; the decoder's weight is the embeddings.
        self._names = {key: name for key, name in names.items() if name is not None}
        assert sorted(self._names.values()) == sorted(arrays)
        weights = {
            key: torch.from_numpy(np.ascontiguousarray(_turned(name, arrays[name])))
            for key, name in self._names.items()
        }
        self.model.load_state_dict(weights, strict=False)
        self.model.tie_weights()

    def __call__(self, batch: dict[str, Any], **labels: Any) -> Any:
        """The output for input_ids, input_mask and segment_ids of a batch, and arrays of labels."""
        import torch

        tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in labels.items()}
        return self.model(
            input_ids=torch.from_numpy(batch["input_ids"]).long(),
            attention_mask=torch.from_numpy(batch["input_mask"]).long(),
            token_type_ids=torch.from_numpy(batch["segment_ids"]).long(),
            **{n: t if t.is_floating_point() else t.long() for n, t in tensors.items()},
            output_hidden_states=True,
        )

    def gradients(self) -> Arrays:
        """Of what ``backward`` was called on."""
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        return {
            name: _turned(name, parameters[key].grad.numpy()) for key, name in self._names.items()
        }


def _turned(name: str, array: Any) -> Any:
    return array.T if name.endswith("/kernel") else array
