"""What compare_versions records: commands, and the small files that they read."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from common import ROOT

_VOCAB_SIZE = 4000
_MODEL = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 48,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "max_position_embeddings": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "type_vocab_size": 2,
    "vocab_size": _VOCAB_SIZE,
}
_SENTENCES = (
    "나무의 나이는 나이테로 안다.",
    "마을 도서관에서 책을 읽었습니다. ||| 도서관은 아홉 시에 연다.",
    "세종은 1443년에 한글을 만들었고, 3년 뒤에 널리 폈다!",
    "ＡＢＣ 코로나19  백신 😀 접종",
)
_MASKED = ("마을 도서관에서 [MASK]을 읽었다.", "[MASK]은 한글을 [MASK] 만들었다.")


class Step(NamedTuple):
    """A command and what it leaves.

    Attributes:
        name: of the facts.
        command: in bin/, and its flags; {output} is where it writes.
        output: file or folder, relative to the recording; None where it prints JSON lines.
        backend: of Keras.
    """

    name: str
    command: str
    output: str | None = None
    backend: str = "tensorflow"


def shard_steps() -> list[Step]:
    """The vocabulary, and the shards of both corpora."""
    build = (
        "build_vocab --input_file=inputs/petitions.txt,inputs/samples.txt --output_dir={output} "
        f"--vocab_size={_VOCAB_SIZE}"
    )
    create = (
        "create_pretraining_data --vocab_file=runs/vocab --output_file={output}/ko.tfrecord@4 "
        "--max_seq_length=64 --max_predictions_per_seq=10"
    )
    forms = {
        "static": "--masking=static --dupe_factor=2",
        "static-ngrams": "--dupe_factor=3 --do_whole_word_mask --whole_word_unit=eojeol "
        "--max_ngram_size=3 --replace_unit=word --next_sentence=sop --sentence_splitter=rule "
        "--num_workers=2",
        "dynamic": "--masking=dynamic --do_whole_word_mask",
    }
    return [
        Step("vocabulary", build, "runs/vocab"),
        *(
            Step(
                f"shards-{corpus}-{form}",
                f"{create} --input_file=inputs/{corpus}.txt {flags}",
                f"runs/shards-{corpus}-{form}",
            )
            for corpus in ("samples", "petitions")
            for form, flags in forms.items()
        ),
    ]


_PRETRAINING = (
    "run_pretraining --do_train --do_eval --bert_config_file=inputs/bert_config.json "
    "--vocab_file=runs/vocab --output_dir={output} --max_seq_length=64 "
    "--max_predictions_per_seq=10 --train_batch_size=16 --num_train_steps=30 "
    "--num_warmup_steps=5 --learning_rate=1e-3 --eval_every_steps=8 --max_eval_steps=5 "
    "--gradient_accumulation_steps=2 --shuffle_buffer_size=200 --save_checkpoints_steps=9 "
    "--log_every_steps=1 --precision=float32"
)
_FINE_TUNING = (
    "--do_train --bert_config_file=inputs/bert_config.json --vocab_file=runs/vocab "
    "--output_dir={output} --init_checkpoint=runs/pretraining-dynamic-tensorflow "
    "--learning_rate=1e-3 --layer_decay=0.9 --eval_every_steps=8 --save_checkpoints_steps=9 "
    "--log_every_steps=1 --precision=float32"
)
_NER = (
    "run_ner --do_eval --do_predict --train_file=inputs/ner-train.tsv "
    "--eval_file=inputs/ner-dev.tsv --predict_file=inputs/ner-dev.tsv --max_seq_length=128 "
    "--train_batch_size=8 --num_train_epochs=1.2 --nolength_buckets"
)
_TASKS = {
    "squad": "run_squad --do_predict --train_file=inputs/korquad-train.json "
    "--predict_file=inputs/korquad-dev.json --max_seq_length=128 --doc_stride=64 "
    "--train_batch_size=24 --num_train_epochs=1",
    "classifier": "run_classifier --task_name=ynat --do_eval --do_predict "
    "--train_file=inputs/ynat-train.csv --eval_file=inputs/ynat-dev.csv "
    "--predict_file=inputs/ynat-dev.csv --max_seq_length=64 --train_batch_size=16 "
    "--num_train_epochs=1 --class_weights=balanced",
    "ner": _NER,
    "ner-crf": f"{_NER} --use_crf",
}
# What a finished run of each is told again, to try it on raw texts.
_TRIALS = {
    "squad": "run_squad --input_file=inputs/questions.tsv --max_seq_length=128 --doc_stride=64",
    "classifier": "run_classifier --input_file=inputs/texts.txt --task_name=ynat "
    "--max_seq_length=64",
    "ner": "run_ner --input_file=inputs/texts.txt --max_seq_length=128",
    "ner-crf": "run_ner --input_file=inputs/texts.txt --max_seq_length=128 --use_crf",
}


def training_steps() -> list[Step]:
    """Pre-training and all tasks, under both backends."""
    steps = []
    for backend in ("tensorflow", "jax"):
        for form in ("static", "dynamic"):
            shards = f"runs/shards-petitions-{form}/ko.tfrecord"
            command = (
                f"{_PRETRAINING} --input_file={shards}-0000[0-2]* --eval_input_file={shards}-00003*"
            )
            name = f"pretraining-{form}-{backend}"
            steps.append(Step(name, command, f"runs/{name}", backend))
    for backend in ("tensorflow", "jax"):
        # Each length is compiled; the lengths do not depend on the backend.
        buckets = "" if backend == "tensorflow" else " --nolength_buckets"
        for task, command in _TASKS.items():
            name = f"{task}-{backend}"
            steps.append(Step(name, f"{command} {_FINE_TUNING}{buckets}", f"runs/{name}", backend))
    return steps


def interrupted_steps() -> list[Step]:
    """The runs of which a half is kept, to be resumed by another version."""
    kept = re.compile("pretraining-dynamic-.*|(squad|classifier|ner-crf)-tensorflow")
    return [step for step in training_steps() if kept.fullmatch(step.name)]


def reading_steps() -> list[Step]:
    """What finished runs are used for; reads inputs/ and runs/ alone."""
    model = "runs/pretraining-dynamic-tensorflow"
    extract = (
        f"extract_features --init_checkpoint={model} --input_file=inputs/sentences.txt "
        "--output_file={output} --layers=-1,-2,-3 --max_seq_length=64 --precision=float32"
    )
    steps = [
        Step("tokens", "tokenize --vocab_file=runs/vocab --output_format=json "
             "--input_file=inputs/samples.txt"),
        Step("korquad-scores", "evaluate_korquad inputs/korquad-dev.json "
             "runs/squad-tensorflow/predictions.json --strip_josa --output_file={output}",
             "read/korquad-changed.jsonl"),
        Step("fill-mask", f"fill_mask --init_checkpoint={model} --input_file=inputs/masked.txt "
             "--output_format=json --precision=float32"),
        Step("features-tensorflow", extract, "read/features-tensorflow.json"),
        Step("features-jax", extract, "read/features-jax.json", "jax"),
        Step("features-mean", f"{extract} --pooling=mean", "read/features-mean.npz"),
    ]  # fmt: skip
    for task, command in _TRIALS.items():
        flags = (
            f"--output_dir=runs/{task}-tensorflow --bert_config_file=inputs/bert_config.json "
            "--vocab_file=runs/vocab --precision=float32"
        )
        steps.append(Step(f"trial-{task}", f"{command} {flags}"))
    for name, flags, output in (
        ("to-tf1", f"--from={model} --to={{output}}/bert_model.ckpt --with_optimizer", "google"),
        ("from-tf1", "--from=read/google/bert_model.ckpt --to={output} --to_format=bert_ko "
         "--vocab_file=runs/vocab", "from-google"),
        ("to-huggingface", f"--from={model} --to={{output}} --to_format=huggingface",
         "hugging-face"),
        ("from-huggingface", "--from=read/hugging-face --to={output} --to_format=bert_ko",
         "from-hugging-face"),
    ):  # fmt: skip
        steps.append(Step(f"convert-{name}", f"convert_checkpoint {flags}", f"read/{output}"))
    return steps


def write_inputs(folder: Path, data: Path, megabytes: float) -> None:
    """Cuts small files out of the corpora.

    Args:
        folder: to write to.
        data: has pretrain/, korquad/, ynat/ and klue-ner/.
        megabytes: of petitions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bert_config.json").write_text(json.dumps(_MODEL, indent=2) + "\n")
    shutil.copyfile(ROOT / "samples" / "corpus.txt", folder / "samples.txt")
    (folder / "sentences.txt").write_text("\n".join(_SENTENCES) + "\n", "utf-8")
    (folder / "masked.txt").write_text("\n".join(_MASKED) + "\n", "utf-8")
    petitions = b"\n\n".join(
        path.read_bytes().strip() for path in sorted(data.glob("pretrain/petitions_*.txt"))
    )
    cut = petitions.rfind(b"\n\n", 0, int(megabytes * 1e6))
    (folder / "petitions.txt").write_bytes(petitions[:cut] + b"\n")
    _write_questions(folder, data / "korquad" / "train.json")
    with (data / "ynat" / "train.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    rows = rows[:: len(rows) // 620]  # they are sorted by topic
    dev = rows[5:600:6]
    train = [row for row in rows[:600] if row not in dev]
    for name, part in (("train", train), ("dev", dev)):
        with (folder / f"ynat-{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *part])
    titles = [row[header.index("title")] for row in rows[600:610]]
    (folder / "texts.txt").write_text("\n".join(titles) + "\n", "utf-8")
    sentences = (data / "klue-ner" / "train.tsv").read_text("utf-8").split("\n\n")
    for name, lines in (("train", sentences[:200]), ("dev", sentences[200:250])):
        (folder / f"ner-{name}.tsv").write_text("\n\n".join(lines) + "\n\n", "utf-8")


def _write_questions(folder: Path, path: Path) -> None:
    """200 questions for training, 100 others for prediction, 3 as raw text."""
    paragraphs = [
        paragraph
        for article in json.loads(path.read_text("utf-8"))["data"]
        for paragraph in article["paragraphs"]
    ]
    pairs = [(p["context"], question) for p in paragraphs for question in p["qas"]]
    for name, part in (("train", pairs[:200]), ("dev", pairs[200:300])):
        found = [{"context": context, "qas": [question]} for context, question in part]
        dataset = {"version": "1.0", "data": [{"title": name, "paragraphs": found}]}
        (folder / f"korquad-{name}.json").write_text(
            json.dumps(dataset, ensure_ascii=False), "utf-8"
        )
    lines = [f"{question['question']}\t{context}" for context, question in pairs[300:303]]
    text = "\n".join(line.replace("\n", " ") for line in lines)
    (folder / "questions.tsv").write_text(text + "\n", "utf-8")
