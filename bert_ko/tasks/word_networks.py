"""Flags of a task's network on a bidirectional language model (ELMo), and the network they say."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bert_ko.flags import Flags, flag
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import encoder_of
from bert_ko.modeling.heads import WordNetwork
from bert_ko.modeling.heads.words import MixName, PlaceName

# Flags that a model of words has no use for.
_OF_PIECES = ("attention", "pack", "remat", "untrained_positions")
_OF_TUNING = ("hidden_dropout_prob", "layer_decay")  # of the biLM, if it learns
_OF_LAYERS = ("gamma", "elmo_at", "elmo_standardize", "elmo_tune")  # of the biLM, if it is read


@dataclass(frozen=True)
class ElmoFlags(Flags):
    """How a task uses a bidirectional language model."""

    group = "On an ELMo"

    # Flags of the network that predictions depend on.
    of_network: ClassVar[tuple[str, ...]] = (
        "elmo_mix", "gamma", "elmo_at", "elmo_network_units", "elmo_standardize", "elmo_word_units",
    )  # fmt: skip

    elmo_mix: MixName = flag(
        "mix",
        help="With an ELMo: what the task's network reads. mix: the sum of the layers by learnt "
        "weights; top: the last layer; words: the words' own vectors, without the layers above; "
        "none: nothing of the ELMo, but --elmo_word_units alone.",
    )
    gamma: bool = flag(True, help="With an ELMo: a learnt factor of what the network reads.")
    elmo_at: PlaceName = flag(
        "input",
        help="With an ELMo: input: the network reads it; both: a mix of its own also joins the "
        "network's outputs.",
    )
    elmo_word_units: int = flag(
        0,
        help="With an ELMo: units of a vector that the task learns for each word of words.txt, and "
        "that joins the mix; 0 for none.",
        at_least=0,
    )
    elmo_standardize: bool = flag(
        True,
        help="With an ELMo: of each feature of the layers take away its mean, and divide by its "
        "deviation, both over the texts that are trained on.",
    )
    elmo_tune: bool = flag(
        False, help="With an ELMo: train its variables, too; else they stay as they are."
    )
    elmo_network_units: int = flag(
        256, help="With an ELMo: units of each direction of the task's biLSTM.", at_least=1
    )
    elmo_network_dropout: float = flag(
        0.5,
        help="With an ELMo: dropout of what the task's biLSTM reads and of its outputs, in [0, 1).",
        at_least=0,
        below=1,
    )

    def network(self, model: ModelConfig) -> WordNetwork | None:
        """The network on a model; none on a model of pieces.

        Raises:
            ValueError: a flag has no effect on such a model.
        """
        if encoder_of(model).objective != "bilm":
            names = [field.name for field in dataclasses.fields(ElmoFlags)]
            self._refuse(
                names, f"is for an ELMo, and the model is of model_type {model.model_type}"
            )
            return None
        what = f"has no effect on a model of model_type {model.model_type}"
        self._refuse(_OF_PIECES, what)
        if self.elmo_mix == "none":
            if not self.elmo_word_units:
                raise ValueError("--elmo_mix=none leaves nothing to read; give --elmo_word_units.")
            self._refuse(_OF_LAYERS, "has no effect with --elmo_mix=none")
        if not self.elmo_tune:
            self._refuse(_OF_TUNING, f"{what} without --elmo_tune")
        values = {name: getattr(self, name) for name in self.of_network}
        network = network_of(values)
        return dataclasses.replace(network, tunes=self.elmo_tune, dropout=self.elmo_network_dropout)

    def _refuse(self, names: tuple[str, ...] | list[str], why: str) -> None:
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name in names:
            if (value := getattr(self, name)) != defaults[name]:
                shown = f"--{name}={value}"
                if isinstance(value, bool):
                    shown = f"--{name}" if value else f"--no{name}"
                raise ValueError(f"{shown} {why}; leave the flag out.")


def network_of(values: Mapping[str, Any]) -> WordNetwork:
    """The network that the flags of a training say, by their names, for prediction."""
    return WordNetwork(
        units=values["elmo_network_units"],
        mix=values["elmo_mix"],
        gamma=values["gamma"],
        place=values["elmo_at"],
        standardizes=values["elmo_standardize"],
        word_units=values["elmo_word_units"],
    )


def trained_network(
    config: ModelConfig, remembered: Mapping[str, Any], path: str
) -> WordNetwork | None:
    """The network that a model was trained with; none on a model of pieces.

    Args:
        config: of the model.
        remembered: flags of its training.
        path: of its weights, for messages.

    Raises:
        ValueError: it was not trained with one.
    """
    if encoder_of(config).objective != "bilm":
        return None
    remembered = of_training(remembered)
    lacking = [name for name in ElmoFlags.of_network if name not in remembered]
    if lacking:
        raise ValueError(
            f"{path} was not trained for labels: its {lacking[0]} is not known. Give --do_train."
        )
    return network_of(remembered)


def of_training(remembered: Mapping[str, Any]) -> Mapping[str, Any]:
    """Flags of a training; on an ELMo, with what it did before some of them existed."""
    if "elmo_mix" not in remembered:
        return remembered
    return {"elmo_standardize": False, "elmo_word_units": 0, **remembered}


def refuse_other_network(flags: ElmoFlags, remembered: Mapping[str, Any], path: str) -> None:
    """Raises: ValueError: weights were trained with another network than they are used with."""
    for name in ElmoFlags.of_network:
        trained, value = remembered.get(name), getattr(flags, name)
        if trained is not None and trained != value:
            raise ValueError(
                f"--{name}={value}, but {path} was trained with {trained}; leave the flag out."
            )
