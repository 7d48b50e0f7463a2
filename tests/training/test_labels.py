"""The labels of a model, as ours and as transformers' files have them."""

import json
from pathlib import Path
from typing import Any

import pytest

from bert_ko.training.labels import labels_beside, read_labels, write_labels


def write_config(folder: Path, **values: Any) -> None:
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")


def test_write_labels_literal_content(tmp_path: Path) -> None:
    write_labels(str(tmp_path), ("O", "B-인물", '"'))
    text = (tmp_path / "labels.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"labels": ["O", "B-인물", '"']}
    assert "B-인물" in text and text.endswith("}\n")
    assert read_labels(str(tmp_path)) == ("O", "B-인물", '"')


def test_read_labels_of_a_regression_are_none_but_known(tmp_path: Path) -> None:
    assert read_labels(str(tmp_path)) is None
    write_labels(str(tmp_path), ())
    assert read_labels(str(tmp_path)) == ()


@pytest.mark.parametrize(
    "content",
    [
        "{}", '{"labels": null}', '{"labels": "ab"}', '{"labels": ["a", 1]}',
        '{"labels": {"a": 0}}', "", '["a"]', '{"labels": ["a"',
    ],
)  # fmt: skip
def test_read_labels_of_something_else_is_an_error(content: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(content)
    with pytest.raises(ValueError) as error:
        read_labels(str(tmp_path))
    if content.endswith("}"):
        assert str(error.value) == f"{path} has no list of labels."
    else:
        assert str(error.value).startswith(str(path))
        assert str(error.value).endswith("Delete the file, or write to another folder.")


@pytest.mark.parametrize(
    ("id2label", "labels"),
    [
        ({"0": "날씨", "1": "책"}, ("날씨", "책")),
        ({"1": "책", "0": "날씨"}, ("날씨", "책")),
        ({str(i): f"L{i}" for i in range(12)}, tuple(f"L{i}" for i in range(12))),
        ({"0": "LABEL_0", "1": "LABEL_1"}, None),
        ({"0": "LABEL_1", "1": "LABEL_0"}, ("LABEL_1", "LABEL_0")),
        ({"0": 0, "1": 1}, ("0", "1")),
        ({"0": "날씨", "2": "책"}, None),
        (["날씨", "책"], None),
        (None, None),
        ({}, None),
    ],
)
def test_read_labels_of_transformers(
    id2label: Any, labels: tuple[str, ...] | None, tmp_path: Path
) -> None:
    write_config(tmp_path, model_type="bert", id2label=id2label)
    assert read_labels(str(tmp_path)) == labels


def test_read_labels_ours_come_before_transformers(tmp_path: Path) -> None:
    write_config(tmp_path, id2label={"0": "가", "1": "나"})
    write_labels(str(tmp_path), ("다", "라"))
    assert read_labels(str(tmp_path)) == ("다", "라")


def test_labels_beside_every_way_to_name_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    (run / "checkpoint-00000003").mkdir(parents=True)
    (run / "checkpoint-00000003" / "state.json").write_text("{}")
    write_labels(str(run), ("가", "나"))
    write_labels(str(tmp_path), ("다",))
    for path in (
        run, f"{run}/", run / "checkpoint-00000003", run / "checkpoint-00000003/model.safetensors",
        run / "bert_model.ckpt", run / "bert_model.ckpt.index",
    ):  # fmt: skip
        assert labels_beside(str(path)) == ("가", "나"), path
    monkeypatch.chdir(run)
    for name in (".", "bert_model.ckpt", "model.safetensors", "checkpoint-00000003"):
        assert labels_beside(name) == ("가", "나"), name
    assert labels_beside(str(tmp_path / "bert_model.ckpt")) == ("다",)
    (run / "exported").mkdir()  # no checkpoint of the run
    assert labels_beside(str(run / "exported")) is None
    assert labels_beside(str(tmp_path / "nowhere" / "bert_model.ckpt")) is None


@pytest.mark.parametrize("id2label", [{"0": ["책"]}, {"0": "책", "1": {"가": "나"}}])
def test_read_labels_id2label_of_something_else_is_an_error(id2label: Any, tmp_path: Path) -> None:
    write_config(tmp_path, id2label=id2label)
    with pytest.raises(ValueError) as error:
        read_labels(str(tmp_path))
    assert str(error.value) == f"{tmp_path}/config.json: id2label must name labels."
