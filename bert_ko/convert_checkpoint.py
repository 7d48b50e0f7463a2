"""convert_checkpoint: a trained model in another form, for us, Google's scripts and others."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from bert_ko.closing import close, command_line
from bert_ko.flags import flag, run_command, run_module
from bert_ko.messages import say, warn
from bert_ko.modeling.encoder import encoder_of
from bert_ko.modeling.heads import TAG_TRANSITIONS, WORD_WEIGHTS
from bert_ko.tasks.bilm.conversion import open_word_model, write_word_model
from bert_ko.tasks.conversion import comparison
from bert_ko.tasks.conversion.conversion import (
    Conversion,
    Form,
    carried,
    form_of,
    grow,
    optimizer_slots,
    refuse_existing,
    set_vocab_size,
    without_crf,
    write,
)
from bert_ko.tasks.conversion.export import export_of
from bert_ko.tasks.conversion.export_files import ExportForm, require_packages, write_export
from bert_ko.tasks.conversion.new_tokens import add_tokens
from bert_ko.tokenization.folder import VOCAB_NAME, load_tokenizer
from bert_ko.tokenization.settings import TokenizerSettings
from bert_ko.training.initialization import HUGGING_FACE, Source, read_source, some_of
from bert_ko.training.model_files import open_files_of, vocabulary_beside


@dataclass(frozen=True)
class ConvertCheckpointConfig(TokenizerSettings):
    """Converts a trained model among several forms, and compares the outputs of both sides.

    The forms are our folder, Google's TF1 checkpoint, and a folder for Hugging Face transformers;
    for an ELMo our folder and bilm-tf's (options.json, weights.hdf5). ONNX and SavedModel are for
    prediction elsewhere, and are not read back.
    """

    from_: str = flag(
        help="The model: a folder of run_pretraining or run_squad or one of its checkpoints, the "
        "prefix of a TF1 checkpoint (bert_model.ckpt), a Hugging Face folder with safetensors, or "
        "a folder of bilm-tf."
    )
    to: str = flag(help="What to write: a new folder, or the prefix of a TF1 checkpoint.")
    to_format: Form | None = flag(
        None,
        main=True,
        help="The form to write. Default: tf1 where --to ends in .ckpt; with --add_tokens or "
        "--add_special_tokens the form of --from; else it must be given.",
    )
    bert_config_file: str | None = flag(
        None,
        other_name="config_file",
        help="bert_config.json of the model. Default: the one beside the weights.",
    )
    vocab_file: str | None = flag(
        None,
        help="The vocabulary. Default: the one beside the weights. If there is one, this may have "
        "more pieces, behind the last one or in place of [unusedN]; their embeddings begin as the "
        "mean of those of their old pieces.",
    )
    add_tokens: tuple[str, ...] | None = flag(
        None,
        main=True,
        help="Words to make pieces, in [unusedN] slots first, then behind the last piece. Where "
        "pieces inside an eojeol have ##, a word is added with and without it; one that begins "
        "with ## is added as it is.",
    )
    add_special_tokens: tuple[str, ...] | None = flag(
        None,
        help="Tokens to keep whole wherever they occur in a text, such as [NAME]; they join the "
        "additional_special_tokens of tokenizer_config.json.",
    )
    add_to_user_dictionary: bool = flag(
        False,
        help="Write a MeCab user dictionary of the words of --add_tokens that MeCab splits, so "
        "that each is one morpheme.",
    )
    vocab_size: int | None = flag(
        None, help="Cut or pad the embeddings to this many rows, for example a multiple of 64."
    )
    quantize: bool = flag(
        False,
        main=True,
        help="Write the weights of --to_format=onnx as int8: a quarter of the size.",
    )
    layers: tuple[str, ...] | None = flag(
        None,
        help="Export the vectors of these layers, -1 is the last one, in place of the head: for "
        "--to_format=onnx or savedmodel.",
    )
    with_optimizer: bool = flag(
        False, help="Write the optimizer's slots too, from one of our checkpoints to TF1."
    )
    compare: bool = flag(True, help="Compare the outputs of both sides on a few Korean sentences.")

    @property
    def form(self) -> Form:
        """The form to write."""
        form = self.to_format or ("tf1" if self.to.endswith(".ckpt") else None)
        if form is None and self.adds_tokens:
            form = form_of(self.from_)
        if form is None:
            raise ValueError(
                "--to_format is missing: bert_ko, tf1, huggingface, bilm, onnx or savedmodel (--to "
                "does not end in .ckpt)."
            )
        return form

    @property
    def export_form(self) -> ExportForm | None:
        """The form, if it is one for other programs, which is not read back."""
        form = self.form
        return form if form == "onnx" or form == "savedmodel" else None

    @property
    def adds_tokens(self) -> bool:
        """Whether the vocabulary gets new tokens by flags."""
        return bool(self.add_tokens or self.add_special_tokens)

    def __post_init__(self) -> None:
        """Raises: ValueError: flags that do not fit together."""
        super().__post_init__()
        for name in ("add_tokens", "add_special_tokens"):
            if getattr(self, name) == ():
                raise ValueError(f"--{name} needs at least one token, got none.")
        if self.add_to_user_dictionary and not self.add_tokens:
            raise ValueError("--add_to_user_dictionary needs --add_tokens.")
        if self.with_optimizer and self.form != "tf1":
            raise ValueError("--with_optimizer needs --to_format=tf1.")
        if self.quantize and self.form != "onnx":
            raise ValueError("--quantize needs --to_format=onnx.")
        if self.layers is not None and self.export_form is None:
            raise ValueError("--layers needs --to_format=onnx or savedmodel.")


def run(config: ConvertCheckpointConfig) -> None:
    """Reads, changes, writes, compares."""
    form = config.form
    refuse_existing(form, config.to)
    if config.export_form is not None:
        require_packages(config.export_form)
    beside = os.path.join(os.path.dirname(config.to), VOCAB_NAME)
    if config.adds_tokens and form == "tf1" and os.path.exists(beside):
        raise ValueError(
            f"--to: {beside} is another vocabulary and would be overwritten; choose another folder."
        )
    with _from_in_messages():
        source = read_source(config.from_)
        if source.config is not None and encoder_of(source.config).objective == "bilm":
            _convert_words(config, source)
            return
        if form == "bilm":
            raise ValueError(
                f"--to_format=bilm: {source.path} is not a bidirectional language model of words; "
                "choose bert_ko, tf1, huggingface, onnx or savedmodel."
            )
        before = _open(config, source)
    with tempfile.TemporaryDirectory() as folder:
        after = _with_vocabulary(config, before, folder)
        if form == "huggingface" and TAG_TRANSITIONS in after.arrays:
            warn(
                "transformers has no CRF: its transitions are left out, and each piece is tagged "
                "on its own there; train without --use_crf for equal tags."
            )
            after = without_crf(after)
        slots = optimizer_slots(before.source, after.config) if config.with_optimizer else {}
        _describe(config, before, after)
        if config.export_form is not None:
            with _from_in_messages():
                export = export_of(after, config.layers)
            lines = write_export(
                export, after, config.export_form, config.to,
                quantize=config.quantize, compares=config.compare,
            )  # fmt: skip
            say("\n".join(lines))
            close(f"exported to {config.export_form}", [os.path.join(config.to, "")])
            return
        check = partial(_compare, config, before, after) if config.compare else None
        write(after, form, config.to, slots, check)
    place = config.to if form == "tf1" else os.path.join(config.to, "")
    close(f"converted to {form}", [place], next_command=command_line("serve", config.to))


@contextlib.contextmanager
def _from_in_messages() -> Iterator[None]:
    """Other commands call --from --init_checkpoint."""
    try:
        yield
    except (FileNotFoundError, ValueError) as error:
        if not str(error).startswith("--init_checkpoint"):
            raise
        raise ValueError(str(error).replace("--init_checkpoint", "--from", 1)) from None


def _convert_words(config: ConvertCheckpointConfig, source: Source) -> None:
    """The same for a model of words."""
    form = config.form
    if form not in ("bert_ko", "bilm"):
        raise ValueError(
            f"--to_format={form}: a bidirectional language model has the forms bert_ko and bilm."
        )
    for name in ("add_tokens", "add_special_tokens", "vocab_size", "bert_config_file"):
        if getattr(config, name) is not None:
            raise ValueError(f"--{name} has no effect with a model of words; leave it out.")
    model = open_word_model(source, config.vocab_file)
    millions = sum(array.size for array in model.arrays.values()) / 1e6
    say(f"{source.path} ({source.kind}) → {config.to} ({form})")
    say(f"{len(model.arrays)} variables, {millions:.1f} million parameters")
    if form == "bilm" and WORD_WEIGHTS in model.arrays:
        say("bilm-tf's form has no softmax: that of the model is left out")
    say(write_word_model(model, form, config.to, compares=config.compare))


def _open(config: ConvertCheckpointConfig, source: Source) -> Conversion:
    """With the vocabulary beside the weights, or else that of --vocab_file."""
    vocab_file = vocabulary_beside(source.folder) or config.vocab_file
    model = open_files_of(source, config.bert_config_file, vocab_file, config)
    arrays = carried(source, model.config, model.config_file)
    return Conversion(source, dict(sorted(arrays.items())), model.config, model.tokenizer)


def _with_vocabulary(
    config: ConvertCheckpointConfig, conversion: Conversion, folder: str
) -> Conversion:
    """With the pieces of --vocab_file, then the tokens of flags; folder is for their vocabulary."""
    if config.vocab_file is not None:
        new = load_tokenizer(config.vocab_file, config)
        if new.fingerprint != conversion.tokenizer.fingerprint:
            conversion = grow(conversion, new)
    if config.adds_tokens:
        addition = add_tokens(
            conversion,
            config.add_tokens or (),
            config.add_special_tokens or (),
            config.add_to_user_dictionary,
            folder,
        )
        for message in addition.warnings:
            warn(message)
        say("\n".join(addition.lines))
        conversion = addition.conversion
    if config.vocab_size is not None:
        conversion = set_vocab_size(conversion, config.vocab_size)
    return conversion


def _describe(config: ConvertCheckpointConfig, before: Conversion, after: Conversion) -> None:
    millions = sum(array.size for array in after.arrays.values()) / 1e6
    say(f"{before.source.path} ({before.source.kind}) → {config.to} ({config.form})")
    say(f"{len(after.arrays)} variables, {millions:.1f} million parameters")
    unknown = sorted(before.source.arrays.keys() - before.arrays.keys())
    if unknown:
        say(f"not carried (unknown): {some_of(unknown)}")
    if after.new_pieces:
        known = sum(bool(piece.parts) for piece in after.new_pieces)
        say(
            f"{len(after.new_pieces):,} new pieces, {known:,} of them from their old pieces, the "
            "others from the mean of all"
        )
    if after.config.vocab_size != before.config.vocab_size:
        say(f"vocab_size {before.config.vocab_size:,} → {after.config.vocab_size:,}")
    spare = after.config.vocab_size - len(after.tokenizer.vocab)
    if spare:
        say(f"{spare:,} rows of the embeddings belong to no piece")


def _compare(
    config: ConvertCheckpointConfig, before: Conversion, after: Conversion, written: str
) -> None:
    """Compares the outputs of what was written, before it has its name.

    Raises:
        ValueError: the two sides differ by more than 1e-4.
    """
    batch = comparison.prepare_sentences(before.tokenizer, before.config.max_position_embeddings)
    has_transformers = comparison.can_run_transformers()
    one, of_one = None, "transformers"
    if before.source.kind == HUGGING_FACE and has_transformers:
        one = comparison.their_outputs(before.source.path, before.config, before.arrays, batch)
    if one is None:
        one, of_one = comparison.our_outputs(before.arrays, before.config, batch), "bert_ko"
    if config.form == "huggingface" and has_transformers:
        of_other = "transformers"
        other = comparison.their_outputs(written, after.config, after.arrays, batch)
        if other is None:
            raise ValueError(f"transformers can't load the conversion; {comparison.NOT_WRITTEN}.")
    else:
        found = read_source(written).arrays
        missing = [name for name in after.arrays if name not in found]
        if missing:
            raise ValueError(
                f"the conversion lacks {', '.join(missing[:3])}; {comparison.NOT_WRITTEN}."
            )
        arrays = {name: found[name] for name in after.arrays}
        other, of_other = comparison.our_outputs(arrays, after.config, batch), "bert_ko"
    new = {piece.id for piece in after.new_pieces}
    kept = [i for i in range(len(before.tokenizer.vocab)) if i not in new]
    differences = comparison.largest_difference(one, other, batch["input_mask"], kept)
    shown = comparison.shown(differences)
    say(f"largest difference, {of_one} before and {of_other} after: {shown}")
    if config.form == "huggingface" and of_other != "transformers":
        say("transformers and torch are not installed: their outputs were not compared")
    comparison.refuse_difference(differences, before.source.path)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return run_command(ConvertCheckpointConfig, run, argv)


if __name__ == "__main__":
    run_module(__file__)
