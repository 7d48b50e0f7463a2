"""bert_ko.load: the kinds of models, the settings they remember, and their answers."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bert_ko
from bert_ko.tasks.conversion.conversion import Conversion, Form, write
from bert_ko.tasks.squad.reading import ENDINGS_NAME
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.folder import write_folder
from bert_ko.training.model_files import ModelFlags, open_model
from tests.fakes import FakeBackend, install_backend
from tests.saved_models import (
    CLASSES,
    CONFIG,
    LABELS,
    PIECES,
    TAGS,
    TEXT,
    predict,
    save,
    save_weights,
)  # fmt: skip

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    modules = ("bert_ko.tasks.loading", "bert_ko.tasks.features.extraction")
    found = install_backend(monkeypatch, *modules)
    found.compute = predict
    return found


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("reader", bert_ko.Reader),
        ("classifier", bert_ko.Classifier),
        ("regression", bert_ko.Classifier),
        ("tagger", bert_ko.Tagger),
        ("crf", bert_ko.Tagger),
        ("masked_lm", bert_ko.MaskedLm),
        ("pretraining", bert_ko.MaskedLm),
        ("encoder", bert_ko.Featurizer),
    ],
)
def test_load_kind_is_what_the_weights_are_for(
    model: str, wanted: type, backend: FakeBackend, tmp_path: Path
) -> None:
    save(tmp_path, model)
    assert type(bert_ko.load(str(tmp_path))) is wanted
    assert type(wanted.load(str(tmp_path))) is wanted  # type: ignore[attr-defined]
    assert type(bert_ko.load(str(tmp_path), "features")) is bert_ko.Featurizer
    assert [config.precision for config in backend.configs] == ["float32"] * 3


@pytest.mark.parametrize("form", ["bert_ko", "huggingface"])
@pytest.mark.parametrize("model", ["reader", "classifier", "regression", "tagger", "masked_lm"])
def test_load_converted_model_is_of_the_same_kind(
    model: str, form: Form, backend: FakeBackend, tmp_path: Path
) -> None:
    opened = open_model(ModelFlags(init_checkpoint=save(tmp_path / "run", model)))
    source, config = opened.source, opened.config
    conversion = Conversion(source, source.arrays, config, opened.tokenizer)
    write(conversion, form, str(tmp_path / form), {})
    loaded = bert_ko.load(str(tmp_path / form))
    assert type(loaded) is type(bert_ko.load(str(tmp_path / "run")))
    assert getattr(loaded, "labels", ()) == LABELS.get(model, ())


def test_load_best_weights_go_before_the_last_and_a_checkpoint_can_be_named(
    backend: FakeBackend, tmp_path: Path
) -> None:
    save(tmp_path, "tagger", seed=1)
    best = save_weights(tmp_path, "tagger", 3, 2, kind="best")
    found = []
    backend.compute = lambda outputs, arrays, batch: (
        found.append(arrays["cls/tags/output_weights"]) or predict(outputs, arrays, batch)
    )
    last = tmp_path / "checkpoint-00000005"
    for path in (tmp_path, best, last, last / "model.safetensors"):
        tagger = bert_ko.Tagger.load(str(path))
        assert tagger.labels == TAGS and tagger.tag(TEXT)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[2], found[3])
    assert (found[0] != found[2]).any()


def test_load_reader_remembers_how_it_was_trained_unless_told(
    backend: FakeBackend, tmp_path: Path
) -> None:
    save(
        tmp_path, "reader", max_seq_length=48, doc_stride=9, max_query_length=16,
        version_2_with_negative=True,
    )  # fmt: skip
    (tmp_path / ENDINGS_NAME).write_text('{"endings": ["josa 이"]}', encoding="utf-8")
    reader = bert_ko.Reader.load(str(tmp_path))
    assert reader.windows == type(reader.windows)(48, 9, 16)
    assert reader.answers.version_2_with_negative
    assert reader.stripper is not None and reader.plan.batch_size == 8
    other = bert_ko.Reader.load(
        str(tmp_path), max_seq_length=40, doc_stride=3, batch_size=2, strip_josa="never",
        version_2_with_negative=False, n_best_size=4, precision="bfloat16",
    )  # fmt: skip
    assert other.windows == type(reader.windows)(40, 3, 16)
    assert other.stripper is None and other.plan.batch_size == 2
    assert other.answers.n_best_size == 4 and not other.answers.version_2_with_negative
    assert backend.configs[-1].precision == "bfloat16"


def test_load_length_is_at_most_the_positions_of_the_model(
    backend: FakeBackend, tmp_path: Path
) -> None:
    path = save(tmp_path, "classifier")
    assert bert_ko.Classifier.load(path).max_seq_length == 80
    with pytest.raises(ValueError) as error:
        bert_ko.load(path, max_seq_length=81)
    assert str(error.value) == (
        "max_seq_length=81, but the model has 80 positions (max_position_embeddings in the "
        f"configuration of {path}/checkpoint-00000005); lower it."
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "reader"},
         "{path} can't be loaded as reader: it has no cls/squad/output_weights."),
        ({"kind": "judge"},
         "kind must be one of reader, classifier, tagger, masked_lm, features, tokenizer, got "
         "'judge'."),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0."),
        ({"precision": "int8"},
         "precision must be one of float32, bfloat16, auto, got 'int8'."),
        ({"kind": "features", "layers": (-1, 7)},
         "layers: there is no layer 7; the model has 2, from 0 to 1 or from -1 back to -2, and -3 "
         "for the embeddings."),
    ],
)  # fmt: skip
def test_load_setting_that_does_not_fit_is_one_sentence(
    settings: dict[str, Any], message: str, backend: FakeBackend, tmp_path: Path
) -> None:
    path = save(tmp_path, "tagger")
    with pytest.raises(ValueError) as error:
        bert_ko.load(path, **settings)
    assert str(error.value) == message.format(path=f"{path}/checkpoint-00000005")


def test_load_unknown_setting_or_tags_without_names_are_refused(
    backend: FakeBackend, tmp_path: Path
) -> None:
    path = save(tmp_path, "tagger")
    with pytest.raises(TypeError, match="unexpected keyword argument 'max_length'"):
        bert_ko.load(path, max_length=64)
    (tmp_path / "labels.json").unlink()
    with pytest.raises(ValueError) as error:
        bert_ko.load(path)
    assert str(error.value) == (
        f"no labels beside {path}/checkpoint-00000005: labels.json is missing."
    )


def test_load_nothing_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        bert_ko.load(str(tmp_path / "model"))
    assert str(error.value) == (
        f"nothing at {tmp_path}/model: no folder with safetensors and no TF1 checkpoint "
        f"({tmp_path}/model.index)."
    )
    with pytest.raises(FileNotFoundError) as error:
        bert_ko.load(str(tmp_path))
    assert str(error.value) == f"no weights in the folder {tmp_path}: it is empty."


def test_load_vocabulary_alone_is_a_tokenizer(tmp_path: Path) -> None:
    path = save(tmp_path / "run", "tagger")
    write_folder(str(tmp_path / "vocab"), list(PIECES), TokenizerConfig(tokenizer_type="wordpiece"))
    for place in ("vocab", "vocab/vocab.txt"):
        tokenizer = bert_ko.load(str(tmp_path / place))
        assert tokenizer.encode("세종은", offsets=True) == [("세종", 5, 0, 2), ("##은", 6, 2, 3)]
    same = bert_ko.load(path, "tokenizer")
    assert same.encode(["세종", "한양에서"]) == [same.encode("세종"), same.encode("한양에서")]
    assert same.encode(["한양에서"], offsets=True)[0][1] == bert_ko.Piece("##에서", 8, 2, 4)
    with pytest.raises(ValueError, match=r"^do_lower_case=False contradicts"):
        bert_ko.load(path, "tokenizer", do_lower_case=False)


def test_reader_answers_a_question_and_a_list_with_places_in_the_context(
    backend: FakeBackend, tmp_path: Path
) -> None:
    reader = bert_ko.load(save(tmp_path, "reader", max_query_length=16))
    answer = reader.answer("누가 지었나?", "한글을 지었다. 세종은.")
    assert (answer.text, answer.start, answer.end) == ("세종", 9, 11)
    assert answer.candidates[0].text == "세종" and 0.9 < answer.probability <= 1
    assert reader.answer(["누가?", "누가 지었나?"], "세종은 한양.") == [
        reader.answer("누가?", "세종은 한양."), reader.answer("누가 지었나?", "세종은 한양."),
    ]  # fmt: skip
    assert reader.answer([], []) == []
    assert reader.answer("누가?", "").text == ""


def test_tagger_gives_spans_of_a_text_and_of_a_list(backend: FakeBackend, tmp_path: Path) -> None:
    tagger = bert_ko.load(save(tmp_path, "crf"))
    found = tagger.tag(TEXT)
    assert [(e.label, e.text, e.start, e.end) for e in found] == [
        ("PS", "세종", 0, 2), ("LC", "한양", 4, 6),
    ]  # fmt: skip
    assert found[0].probability == pytest.approx(0.9)
    assert tagger.tag([TEXT, "", "한글"]) == [found, [], []]
    assert tagger.tag([]) == []


def test_classifier_gives_classes_or_scores_of_texts_and_pairs(
    backend: FakeBackend, tmp_path: Path
) -> None:
    classifier = bert_ko.load(save(tmp_path / "classes", "classifier"))
    said = classifier.classify(TEXT)
    assert (said.label, said.probability) == ("과학", 0.5)
    assert list(said.probabilities) == list(CLASSES)
    assert classifier.classify([TEXT, (TEXT, "한글")]) == [said, said]
    (tmp_path / "classes" / "labels.json").unlink()
    assert bert_ko.load(str(tmp_path / "classes")).classify(TEXT).label == "LABEL_1"
    scorer = bert_ko.load(save(tmp_path / "scores", "regression"))
    assert scorer.classify(("세종", "한양")) == bert_ko.Score(5.0)
    assert scorer.classify([]) == []


def test_masked_lm_fills_any_number_of_masks_in_few_shapes(
    backend: FakeBackend, tmp_path: Path
) -> None:
    masked_lm = bert_ko.load(save(tmp_path, "pretraining"))
    texts = ["[MASK] " * (1 + i % 4) + "세종 " * (i % 50) for i in range(1000)]
    found = masked_lm.fill_mask(texts, top_k=2)
    assert [len(masks) for masks in found] == [1 + i % 4 for i in range(1000)]
    assert found[1][1].start == 7
    assert found[0] == masked_lm.fill_mask(texts[0], top_k=2)
    assert found[0][0].candidates[0] == bert_ko.Candidate("[PAD]", 0, 19.0, "[PAD] ")
    assert {shape[0] for shape in backend.shapes} == {1, 8}
    assert {shape[1] for shape in backend.shapes} <= {32, 64, 80}


def test_featurizer_gives_vectors_of_pieces_with_their_characters(
    backend: FakeBackend, tmp_path: Path
) -> None:
    featurizer = bert_ko.load(save(tmp_path, "tagger"), "features", max_seq_length=8)
    found = featurizer.features([TEXT, ("세종", "한양")])
    assert found[0].pieces[:3] == ("[CLS]", "세종", "##은")
    assert found[0].offsets[:3] == ((0, 0), (0, 2), (2, 3))
    assert found[0].vectors.shape == (8, 1, CONFIG.hidden_size)
    assert found[1].segment_ids == (0, 0, 0, 1, 1)


def test_import_bert_ko_loads_nothing_heavy() -> None:
    code = (
        "import sys, json; before = set(sys.modules); import bert_ko; bert_ko.load; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=REPOSITORY, text=True
    )
    modules = json.loads(done.stdout)
    assert [name for name in modules if name.startswith("bert_ko.")] == ["bert_ko.version"]
    heavy = {"numpy", "keras", "tensorflow", "jax", "mecab", "_mecab", "absl", "sentencepiece"}
    assert heavy.isdisjoint(name.split(".")[0] for name in modules)


def test_names_of_the_api_are_all_there() -> None:
    assert all(getattr(bert_ko, name) for name in bert_ko.__all__)
    assert {*bert_ko.__all__} <= {*dir(bert_ko)}
    with pytest.raises(AttributeError, match=r"^module 'bert_ko' has no attribute 'Judge'$"):
        _ = bert_ko.Judge


def blocks(page: str) -> list[str]:
    """The Python of a page of docs/."""
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_python_pages_run_block_by_block(
    backend: FakeBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert len(blocks("python.md")) == 6
    models = {"reader": "reader", "entities": "crf", "topics": "classifier", "model": "pretraining"}
    for folder, model in models.items():
        save(tmp_path / folder, model, max_query_length=16)
    (tmp_path / "vocab").symlink_to(REPOSITORY / "vocab")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code in blocks("python.md"):
        exec(compile(code, "python.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("세종 0 2 0.") and lines[1] == "PS 세종 0 2 0.8999999761581421"
    assert "##의 3742 2 3" in lines


@pytest.mark.slow
def test_load_every_kind_computes_on_the_real_backend(tmp_path: Path) -> None:
    length = {"max_seq_length": 64, "batch_size": 2}
    reader = bert_ko.load(save(tmp_path / "reader", "reader", max_query_length=16), **length)
    answer = reader.answer("누가 지었나?", TEXT)
    assert TEXT[answer.start : answer.end] == answer.text == answer.candidates[0].text
    assert len(reader.answer(["누가?"] * 5, [TEXT] * 5)) == 5
    for model in ("tagger", "crf"):
        entities = bert_ko.load(save(tmp_path / model, model), **length).tag([TEXT] * 3)
        assert all(TEXT[e.start : e.end] == e.text for e in entities[0])
        assert len(entities) == 3
    said = bert_ko.load(save(tmp_path / "classifier", "classifier"), **length).classify(TEXT)
    assert sum(said.probabilities.values()) == pytest.approx(1)
    (score,) = bert_ko.load(save(tmp_path / "score", "regression"), **length).classify([TEXT])
    assert np.isfinite(score.score)
    path = save(tmp_path / "pretraining", "pretraining")
    (mask,) = bert_ko.load(path, batch_size=2).fill_mask("세종은 [MASK]에서 태어났다.")
    assert mask.start == 4 and len(mask.candidates) == 5
    vectors = bert_ko.load(path, "features", pooling="mean", layers=(-1, -2)).features(TEXT).vectors
    assert vectors.shape == (2, CONFIG.hidden_size) and np.isfinite(vectors).all()
    opened = open_model(ModelFlags(init_checkpoint=path))
    conversion = Conversion(opened.source, opened.source.arrays, CONFIG, opened.tokenizer)
    write(conversion, "tf1", str(tmp_path / "google" / "bert_model.ckpt"), {})
    same = bert_ko.load(str(tmp_path / "google" / "bert_model.ckpt"), batch_size=2)
    (other,) = same.fill_mask("세종은 [MASK]에서 태어났다.")
    chances = [[c.probability for c in one.candidates] for one in (mask, other)]
    assert chances[0] == pytest.approx(chances[1], abs=1e-5)
