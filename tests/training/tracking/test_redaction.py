"""Messages without secrets."""

import socket
import urllib.error
import urllib.request

import pytest

from bert_ko.training.tracking.redaction import describe, redacted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("http://user:pa55@host:5000/api", "http://…@host:5000/api"),
        ("postgresql://user:p%40ss@db/mlflow?sslkey=abc&x=1", "postgresql://…@db/mlflow?sslkey=…&x=…"),
        ("http://host/a@b", "http://host/a@b"),
        ("the key k-12345 is wrong", "the key [WANDB_API_KEY] is wrong"),
        ("Bearer t0ken-of-mine", "Bearer [MLFLOW_TRACKING_TOKEN]"),
        ("a bc", "a bc"),
    ],
)  # fmt: skip
def test_redacted_has_no_secret(text: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k-12345")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken-of-mine")
    monkeypatch.setenv("SHORT_KEY", "a")
    assert redacted(text) == wanted


def test_describe_names_the_first_cause() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(urllib.error.URLError) as caught:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address)
    error = RuntimeError("API request failed")
    error.__cause__ = caught.value
    assert describe(error).startswith("ConnectionRefusedError: [Errno ")
    assert describe(RuntimeError("한 줄\n두 줄")) == "RuntimeError: 한 줄 두 줄"
    assert describe(TimeoutError()) == "TimeoutError"
    assert len(describe(ValueError("x" * 999))) < 250


def test_describe_causes_in_a_circle_end() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert describe(first) == "ValueError: b"
