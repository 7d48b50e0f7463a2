"""Small data of each command that trains, and how it is trained on them and asked."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.heads import ClassHead, Head, PretrainingHead, SpanHead, TagHead, model_specs
from bert_ko.modeling.parameters import Arrays, initial_parameters
from bert_ko.tasks.ner.bio import OUTSIDE, Entity
from bert_ko.training.checkpoints import Checkpoint, save_checkpoint
from bert_ko.training.labels import write_labels
from tests.fakes import REPOSITORY, Command, install_backend

SAMPLE_CORPUS = REPOSITORY / "samples" / "corpus.txt"
MODEL = {
    "vocab_size": 1500, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 64,
}  # fmt: skip
CONFIG = BertConfig(**MODEL)  # type: ignore[arg-type]


class Trainable(NamedTuple):
    """A command that trains, and flags for it.

    Attributes:
        command: with the flags of every call: model, vocabulary, lengths, and a checkpoint every
            third update.
        head: that it trains.
        train: it is trained.
        ask: the trained model is evaluated, and predicts where the command predicts.
        watch: it is evaluated while it is trained, every 5 updates.
        metric: the main one.
        written: what ``ask`` writes besides eval_results.txt and the report.
        changes: flags of this command that change the run, with another value.
        more_training: some 60 updates.
        labels: of the head.
    """

    command: Command
    head: Head
    train: Mapping[str, Any]
    ask: Mapping[str, Any]
    watch: Mapping[str, Any]
    metric: str
    written: Sequence[str]
    changes: Mapping[str, Any]
    more_training: Mapping[str, Any]
    labels: Sequence[str] = ()

    @property
    def file_flag(self) -> str:
        """Of the data that are trained on."""
        return next(name for name in self.train if name.endswith("file"))


@pytest.fixture(scope="session")
def finish(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Trainable], Path]:
    """The folder of a run that a model of numpy was trained and asked in; to be copied."""
    found: dict[str, Path] = {}

    def run(trainable: Trainable) -> Path:
        command = trainable.command
        if command.name not in found:
            folder = tmp_path_factory.mktemp("finished") / "run"
            with pytest.MonkeyPatch.context() as patch:
                backend = install_backend(patch)
                command.succeed(output_dir=folder, **trainable.train, **trainable.ask)
                backend.remember()
            found[command.name] = folder
        return found[command.name]

    return run


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of ``finished``, which a module of tests defines."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def write_config(path: Path, **changes: Any) -> str:
    path.write_text(json.dumps({**MODEL, **changes}))
    return str(path)


def save_weights(
    folder: Path,
    head: Head,
    labels: Sequence[str] = (),
    fingerprint: str | None = None,
    **changes: Any,
) -> Arrays:
    """Writes a folder with one checkpoint, of step 7; returns its weights."""
    folder.mkdir()
    config = BertConfig(**{**MODEL, **changes})
    arrays = initial_parameters(model_specs(config, head), 0.02, 1)
    state = {"format": 1, "step": 7, "tokenizer_fingerprint": fingerprint}
    save_checkpoint(str(folder), 7, Checkpoint(arrays, {}, state), config, 0)
    if labels:
        write_labels(str(folder), labels)
    return arrays


def _command(name: str, folder: Path, vocab: str, **flags: Any) -> Command:
    common = {
        "bert_config_file": write_config(folder / "bert_config.json"), "vocab_file": vocab,
        "save_checkpoints_steps": 3, "log_every_steps": 1,
    }  # fmt: skip
    return Command(name, {**common, **flags})


# Pre-training


def write_shards(output: Path, vocab: Any, **flags: Any) -> str:
    """Writes shards of the sample corpus; returns their folder."""
    command = Command("create_pretraining_data", {
        "input_file": SAMPLE_CORPUS, "output_file": output, "vocab_file": vocab, "num_workers": 1,
        "max_seq_length": 32, "max_predictions_per_seq": 5,
    })  # fmt: skip
    command.succeed(**flags)
    return str(output.parent)


@pytest.fixture(scope="session")
def pretraining(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Trainable:
    """Four shards with dynamic masking; the last is held out."""
    folder = tmp_path_factory.mktemp("pretraining")
    shards = write_shards(
        folder / "dynamic/a@4", vocab_folder, masking="dynamic", do_whole_word_mask=True
    )
    held_out = f"{shards}/a-00003*"
    return Trainable(
        _command(
            "run_pretraining", folder, vocab_folder, max_seq_length=32, max_predictions_per_seq=5,
            train_batch_size=8, num_train_steps=12, num_warmup_steps=2, shuffle_buffer_size=50,
            input_file=f"{shards}/a-0000[0-2]*",
        ),
        PretrainingHead(),
        {"do_train": True, "input_file": f"{shards}/a-0000[0-2]*"},
        {"do_eval": True, "eval_input_file": held_out},
        {"eval_every_steps": 5, "eval_input_file": held_out},
        "masked_lm_accuracy",
        [],
        {
            "num_train_steps": 13, "num_warmup_steps": 3, "max_ngram_size": 3,
            "masked_lm_prob": 0.2, "do_whole_word_mask": False, "whole_word_unit": "eojeol",
            "replace_unit": "word", "max_predictions_per_seq": 4, "shuffle_buffer_size": 51,
        },
        {"num_train_steps": 60},
    )  # fmt: skip


# KorQuAD

LIBRARY = (
    "솔마을 도서관은 언덕 위에 있다. 관장 이보람은 1987년에 태어났다. 아이들은 토요일마다 책을 "
    "빌린다."
)
MARKET = "달빛 시장은 강가에 선다. 상인들은 새벽에 생선을 판다. 시장의 종은 구리로 만들었다."
ROADS = " ".join(
    f"{year}년에 마을 사람들이 나무 {year - 1900}그루를 심었다." for year in range(1960, 1968)
)
QUESTIONS = [
    (LIBRARY, "q1", "도서관은 어디에 있는가?", "언덕 위"),
    (LIBRARY, "q2", "관장은 언제 태어났는가?", "1987년"),
    (LIBRARY, "q3", "아이들은 무엇을 빌리는가?", "책"),
    (MARKET, "q4", "상인들은 언제 생선을 파는가?", "새벽"),
    (MARKET, "q5", "종은 무엇으로 만들었는가?", "구리"),
    (ROADS, "q6", "1965년에 심은 나무는 몇 그루인가?", "65그루"),
]


def write_questions(
    path: Path, questions: Any = QUESTIONS, version: str = "KorQuAD_v1.0_dev", **changes: Any
) -> str:
    """Args: questions: (context, id, question, answer); changes: by id, members to be put in."""
    data = []
    for context in dict.fromkeys(context for context, *_ in questions):
        qas = [
            {
                "id": qas_id,
                "question": question,
                "answers": [{"text": answer, "answer_start": context.find(answer)}],
                **changes.get(qas_id, {}),
            }
            for text, qas_id, question, answer in questions
            if text == context
        ]
        data.append({"title": "마을", "paragraphs": [{"context": context, "qas": qas}]})
    text = json.dumps({"version": version, "data": data}, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def squad(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Trainable:
    folder = tmp_path_factory.mktemp("squad")
    path = write_questions(folder / "data.json")
    return Trainable(
        _command(
            "run_squad", folder, vocab_folder, max_seq_length=64, doc_stride=16,
            max_query_length=20, train_batch_size=4, strip_josa="never",
        ),
        SpanHead(),
        {"do_train": True, "train_file": path},
        {"do_predict": True, "predict_file": path},
        {"eval_every_steps": 5, "predict_file": path},
        "f1",
        ["josa_changes.jsonl", "nbest_predictions.json", "predictions.json"],
        {"doc_stride": 8, "max_query_length": 10, "version_2_with_negative": True},
        {"num_train_epochs": 12},
    )  # fmt: skip


# Classification

TEXTS = {
    "날씨": [
        "오늘은 비가 온다", "내일은 눈이 내린다", "바람이 많이 분다", "하늘이 맑고 해가 난다",
        "구름이 낮게 깔렸다", "밤에는 기온이 내려간다", "아침에 안개가 짙다", "봄에는 따뜻하다",
    ],
    "음식": [
        "밥을 먹고 물을 마신다", "시장에서 생선을 샀다", "어머니가 국을 끓인다", "사과가 달다",
        "점심에 국수를 먹었다", "빵을 굽는 냄새가 난다", "김치는 조금 맵다", "저녁은 쌀밥이다",
    ],
    "책": [
        "도서관에서 책을 빌렸다", "소설을 밤새 읽었다", "시인은 시를 쓴다", "책방은 학교 앞에 있다",
        "글을 읽는 사람이 많다", "이 책은 역사를 말한다", "신문을 날마다 읽는다", "편지를 썼다",
    ],
}  # fmt: skip
CLASSES = tuple(TEXTS)
EXAMPLES = [(texts[row], label) for row in range(8) for label, texts in TEXTS.items()]


def write_table(path: Path, rows: Sequence[Sequence[object]], *columns: str) -> str:
    lines = ["\t".join(map(str, row)) for row in (columns, *rows)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def write_texts(path: Path, examples: Any = EXAMPLES) -> str:
    return write_table(path, examples, "text", "label")


@pytest.fixture(scope="session")
def classifier(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Trainable:
    folder = tmp_path_factory.mktemp("classifier")
    path = write_texts(folder / "data.tsv")
    return Trainable(
        _command(
            "run_classifier", folder, vocab_folder, task_name="tsv", max_seq_length=32,
            train_batch_size=4,
        ),
        ClassHead(3),
        {"do_train": True, "train_file": path},
        {"do_eval": True, "eval_file": path, "do_predict": True, "predict_file": path},
        {"eval_every_steps": 5, "eval_file": path},
        "macro_f1",
        [
            "confusion_matrix.svg", "eval_predictions.jsonl", "test_predictions.jsonl",
            "test_results.tsv",
        ],
        {"class_weights": "balanced", "max_train_examples": 20},
        {"num_train_epochs": 10},
        CLASSES,
    )  # fmt: skip


# Named entities

TAGGED = (
    "<이보람:PS> 관장은 <솔내마을:LC>에서 산다.",
    "<달빛 시장:LC>은 <토요일:DT>마다 열린다.",
    "아이들은 어제 책을 <세 권:QT> 빌렸다.",
    "<윤말순:PS> 씨는 <1987년:DT>에 태어났다.",
    "눈이 많이 내려서 길이 막혔다.",
    "<솔내마을:LC> 사람들은 <김장:QT>을 함께 한다.",
    "<한솔 조합:OG>은 <서울:LC>에 사무실을 냈다.",
    "버스는 <아침 일곱 시:TI>에 떠난다.",
    "<박두리:PS>와 <이보람:PS>은 오랜 친구이다.",
    "감자를 <5 kg:QT> 샀다.",
    "<서울:LC>에서 <부산:LC>까지 걸어서 갔다.",
    "<한솔 조합:OG>의 <박두리:PS> 조합장이 말했다.",
    "시장의 종은 구리로 만들었다.",
    "<내일:DT> <오후 두 시:TI>에 만나자.",
    "<윤말순:PS> 할머니는 편지를 <열 통:QT> 썼다.",
    "도서관은 <월요일:DT>에 쉰다.",
    "<달빛 시장:LC>의 상인들은 <새벽:TI>에 온다.",
    "<부산:LC>에는 비가 온다.",
    "<이보람:PS>은 <한솔 조합:OG>에서 일했다.",
    "나무 <65그루:QT>를 심었다.",
)
TAGS = (
    "O", "B-DT", "I-DT", "B-LC", "I-LC", "B-OG", "I-OG", "B-PS", "I-PS", "B-QT", "I-QT", "B-TI",
    "I-TI",
)  # fmt: skip


def parse_tagged(line: str) -> tuple[str, list[Entity]]:
    """Text and its entities in characters."""
    text, found = "", []
    for part in re.split(r"(<[^>]+>)", line):
        entity = re.fullmatch(r"<(.+):(.+)>", part)
        if entity:
            found.append(Entity(entity[2], len(text), len(text) + len(entity[1])))
        text += entity[1] if entity else part
    return text, found


def from_entities(found: Iterable[Entity], length: int) -> tuple[str, ...]:
    """Tags of the units of a sentence; the inverse of ``bio.entities``."""
    tags = [OUTSIDE] * length
    for entity in found:
        inside = [f"I-{entity.type}"] * (entity.end - entity.start - 1)
        tags[entity.start : entity.end] = [f"B-{entity.type}", *inside]
    return tuple(tags)


def write_klue(path: Path, lines: Any = TAGGED) -> str:
    blocks = []
    for number, line in enumerate(lines, start=1):
        text, found = parse_tagged(line)
        tags = from_entities(found, len(text))
        rows = [f"{char}\t{tag}" for char, tag in zip(text, tags, strict=True)]
        blocks.append("\n".join([f"## s-{number}\t{line}", *rows]) + "\n")
    path.write_text("\n".join(blocks), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def ner(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Trainable:
    folder = tmp_path_factory.mktemp("ner")
    path = write_klue(folder / "data.tsv")
    extra = write_klue(folder / "extra.tsv", TAGGED[:2])
    return Trainable(
        _command("run_ner", folder, vocab_folder, max_seq_length=64, train_batch_size=4),
        TagHead(TAGS),
        {"do_train": True, "train_file": path},
        {"do_eval": True, "eval_file": path, "do_predict": True, "predict_file": path},
        {"eval_every_steps": 5, "eval_file": path},
        "f1",
        [
            "eval_predictions.jsonl", "eval_predictions.txt", "test_predictions.jsonl",
            "test_predictions.txt",
        ],
        {
            "use_crf": True, "crf_learning_rate_multiple": 1, "max_train_examples": 9,
            "extra_train_file": (extra,),
        },
        {"num_train_epochs": 12, "use_crf": True},
        TAGS,
    )  # fmt: skip
