"""The notification of a run's end: its text, servers that misbehave, signals, and the secret."""

import contextlib
import io
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bert_ko import notification
from bert_ko.flags import FlagError, flag, output_flags, parse, run_command, secret_flags
from bert_ko.messages import running_as
from bert_ko.notification import Ending, at_step, format_duration, notified, require_notify_url
from bert_ko.training.settings import LoopFlags
from tests.fakes import DRIP, SECRET, Webhook, serving, status


@dataclass(frozen=True)
class Config(LoopFlags):
    """Trains."""

    output_dir: str = flag("runs/base", help="Folder.")


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def no_proxy_and_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(notification, "_PAUSE", 0.01)


Warned = Callable[[], str]
WARNING = "test_notification: warning: --notify_url: the webhook did not accept the notification: "
FINISHED = "test_notification (base): finished after 0 s"


@pytest.fixture
def warning(capfd: pytest.CaptureFixture[str]) -> Warned:
    """Returns the reason in the one warning, which is all that was printed."""

    def read() -> str:
        out, err = capfd.readouterr()
        assert (out, err.count("\n")) == ("", 1) and err.startswith(WARNING)
        return err.removeprefix(WARNING).rstrip("\n")

    return read


def command(url: str, run: Callable[[Any], Any] = lambda config: None, *flags: str) -> int:
    """Runs a command that is notified; returns its exit status."""
    return run_command(Config, notified(run), [f"--notify_url={url}", *flags])


def ending_with(outcome: Ending | BaseException | None) -> Callable[[Any], Ending | None]:
    def run(config: Any) -> Ending | None:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return run


# Its text


def test_notified_finished_run_posts_json_in_the_format_of_slack(
    webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(webhook.url, lambda config: Ending({"f1": 90.1234, "가나": 1 / 3})) == 0
    ((method, path, headers, body),) = webhook.received
    assert (method, path) == ("POST", f"/services/{SECRET}")
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert "Python" not in headers["User-Agent"]  # some webhooks refuse it
    assert body.decode("utf-8") == f'{{"text": "{FINISHED}; f1 90.12, 가나 0.3333"}}'
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("outcome", "code", "text"),
    [
        (None, 0, "finished after 0 s"),
        (Ending({}, 7500, 7500), 0, "finished after 0 s"),
        (Ending({}, 1200, 7500), 0, "stopped by --max_hours at step 1,200 of 7,500 after 0 s"),
        (Ending({"f1": 80.0}, 0, 9), 0, "stopped by --max_hours at step 0 of 9 after 0 s; f1 80"),
        (ValueError("corpus.txt:3: 줄이 깁니다.\n  Cut it."), 1,
         "failed after 0 s: corpus.txt:3: 줄이 깁니다. Cut it."),
        (FileNotFoundError(2, "No such file or directory", "vocab.txt"), 1,
         "failed after 0 s: vocab.txt: No such file or directory"),
        (ValueError(""), 1, "failed after 0 s: ValueError"),
        (ValueError("<!channel> a & b"), 1, "failed after 0 s: &lt;!channel&gt; a &amp; b"),
        (ValueError("name \udcff"), 1, "failed after 0 s: name ?"),
        (ValueError("<" * 100_000), 1, f"failed after 0 s: {'&lt;' * 455}…"),
        (BrokenProcessPool("x"), 1, "failed after 0 s: BrokenProcessPool: a worker process ended "
         "abruptly, most likely because memory ran out; use fewer workers or a machine with more "
         "memory."),
        (KeyboardInterrupt(), 130, "interrupted after 0 s"),
    ],
)  # fmt: skip
def test_notified_outcome_is_described_and_the_exit_status_stays(
    outcome: Ending | BaseException | None, code: int, text: str, webhook: Webhook
) -> None:
    assert command(webhook.url, ending_with(outcome)) == code
    assert webhook.texts == [f"test_notification (base): {text}"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SystemExit(130), "interrupted at step 5 of 9 after 0 s"),
        (SystemExit(143), "stopped by SIGTERM at step 5 of 9 after 0 s"),
        (SystemExit(0), "finished after 0 s"),
        (SystemExit(None), "finished after 0 s"),
        (SystemExit(3), "failed after 0 s: exit status 3"),
        (KeyError("가"), "failed after 0 s: KeyError: '가'"),
        (RuntimeError("x"), "failed after 0 s: RuntimeError: x"),
    ],
)
def test_notified_other_exception_passes_unchanged_with_its_traceback(
    error: BaseException, text: str, webhook: Webhook
) -> None:
    error.add_note(at_step(5, 9))
    with pytest.raises(type(error)) as caught:
        command(webhook.url, ending_with(error))
    assert caught.value is error and error.__context__ is None
    assert caught.traceback[-1].name == "run"
    assert webhook.texts == [f"test_notification (base): {text}"]


def test_notified_time_is_that_of_the_run(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 100.0 + 2 * 3600 + 13 * 60])
    monkeypatch.setattr(notification.time, "monotonic", lambda: next(clock, 0.0))
    with running_as("test_notification"):
        notified(lambda config: None)(Config(notify_url=webhook.url))
    assert webhook.texts == ["test_notification (base): finished after 2 h 13 min"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (125.0, "2 min"), (3569.0, "59 min"),
        (3571.0, "1 h 0 min"), (7980.0, "2 h 13 min"), (100 * 3600.0, "100 h 0 min"),
    ],
)  # fmt: skip
def test_format_duration_is_rounded_to_what_matters(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_notified_text_has_the_last_folder_but_no_url_and_no_host(webhook: Webhook) -> None:
    error = ValueError(f"can't open {webhook.url}.")
    assert command(webhook.url, ending_with(error), "--output_dir=/home/모델/../base-2/") == 1
    cause = "failed after 0 s: can't open [--notify_url]."
    assert webhook.texts == [f"test_notification (base-2): {cause}"]
    assert socket.gethostname() not in webhook.received[0][3].decode()


def test_notified_without_url_sends_nothing_and_leaves_signals_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notification, "_send", pytest.fail)
    handlers = []
    run = notified(lambda config: handlers.append(signal.getsignal(signal.SIGTERM)))
    assert run_command(Config, run, []) == 0
    with pytest.raises(KeyError):
        run_command(Config, notified(ending_with(KeyError())), [])
    assert handlers == [signal.getsignal(signal.SIGTERM)]


def test_notified_help_and_wrong_flags_send_nothing(
    webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(webhook.url, pytest.fail, "--help") == 0
    assert command(webhook.url, pytest.fail, "--max_hours=0") == 1
    assert webhook.received == []
    assert SECRET not in "".join(capsys.readouterr())


# Servers that misbehave


@pytest.mark.parametrize(
    ("answer", "attempts", "problem"),
    [
        (status(404), 1, "the server answered 404"),
        (status(403), 1, "the server answered 403"),
        (status(500), 3, "the server answered 500"),
        (status(429), 3, "the server answered 429"),
        (b"", 3, "RemoteDisconnected"),
        (b"\x00\xff rude\r\n\r\n", 3, "BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000, 3, "HTTPException"),
        (b"HTTP/1.1 200 " + b"x" * 100_000, 3, "LineTooLong"),
        *[
            (status(code, "Location: /x"), 1, f"the server answered {code}")  # not followed
            for code in (301, 302, 303, 307, 308)
        ],
    ],
)
def test_notified_rude_server_is_a_warning(
    answer: bytes, attempts: int, problem: str, webhook: Webhook, warning: Warned
) -> None:
    webhook.answers = [answer]
    assert command(webhook.url) == 0
    assert len(webhook.received) == attempts
    assert warning() == problem


@pytest.mark.parametrize(("error", "code"), [(ValueError("x"), 1), (KeyboardInterrupt(), 130)])
def test_notified_rude_server_changes_no_exit_status(
    error: BaseException, code: int, webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook.answers = [status(404)]
    assert command(webhook.url, ending_with(error)) == code
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith(WARNING) and last.startswith("test_notification: ")


@pytest.mark.parametrize(
    "answers",
    [
        [status(503), b"", status(204)],
        # Its body, which never ends, is not read.
        [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n" + b"x" * 1000],
    ],
)
def test_notified_server_that_accepts_at_last_gives_no_warning(
    answers: list[bytes], webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook.answers = list(answers)
    assert command(webhook.url) == 0
    assert webhook.texts == [FINISHED] * len(answers)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("silence", "patience", "attempts", "problem"),
    [(0.0, 1.0, 1, "it took more than 1 s"), (60.0, 30.0, 3, "no answer within 0.2 s")],
)
def test_notified_dripping_or_silent_server_is_abandoned(
    silence: float,
    patience: float,
    attempts: int,
    problem: str,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
    warning: Warned,
) -> None:
    monkeypatch.setattr(notification, "_SILENCE", 0.2)
    monkeypatch.setattr(notification, "_PATIENCE", patience)
    webhook.answers, webhook.silence = [DRIP], silence
    start = time.monotonic()
    assert command(webhook.url) == 0
    assert 0.6 < time.monotonic() - start < 10
    assert len(webhook.received) == attempts
    assert warning() == problem


def test_notified_port_that_is_closed_or_without_tls_is_a_warning(
    webhook: Webhook, warning: Warned
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert command(f"http://127.0.0.1:{free.getsockname()[1]}/{SECRET}") == 0
    assert warning() == "ConnectionRefusedError"
    assert command(webhook.url.replace("http:", "https:")) == 0
    problem = warning()
    assert SECRET not in problem and "127.0.0.1" not in problem


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name"), UnicodeError("label too long")])
def test_notified_name_that_does_not_resolve_is_a_warning(
    error: Exception, monkeypatch: pytest.MonkeyPatch, warning: Warned
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: ending_with(error)(args))
    assert command("https://hooks.invalid/x") == 0
    assert warning() == type(error).__name__


@pytest.mark.slow
def test_notified_name_that_never_resolves_is_abandoned(
    monkeypatch: pytest.MonkeyPatch, warning: Warned
) -> None:
    monkeypatch.setattr(notification, "_PATIENCE", 1.0)
    is_over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: is_over.wait(60) and [])
    start = time.monotonic()
    assert command("https://hooks.invalid/x") == 0
    is_over.set()
    assert 0.9 < time.monotonic() - start < 5
    assert warning() == "it took more than 1 s"


def test_notified_proxy_of_the_environment_is_used(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, warning: Warned
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{webhook.server_port}")
    assert command("http://hooks.invalid/x") == 0
    assert [path for _, path, _, _ in webhook.received] == ["http://hooks.invalid/x"]
    monkeypatch.setenv("http_proxy", "http://user:word@127.0.0.1:port")
    assert command(webhook.url) == 0
    assert warning() == "InvalidURL" and len(webhook.received) == 1


def test_notified_ctrl_c_ends_the_notification_alone(
    monkeypatch: pytest.MonkeyPatch, warning: Warned
) -> None:
    monkeypatch.setattr(
        notification, "_send", lambda url, text: ending_with(KeyboardInterrupt())(0)
    )
    assert command("https://host/x") == 0
    assert warning() == "interrupted"


def test_notified_ending_that_can_not_be_shown_is_a_warning(
    webhook: Webhook, warning: Warned
) -> None:
    assert command(webhook.url, lambda config: Ending({"f1": "90"})) == 0  # type: ignore[dict-item]
    assert warning() == "ValueError"


@pytest.mark.parametrize("error", [BrokenPipeError(), RuntimeError("reentrant call")])
def test_notified_without_threads_or_standard_error_ends_as_it_would(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_thread = ending_with(RuntimeError("can't start new thread"))
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    no_file = partial(ending_with(io.UnsupportedOperation()), None)
    stderr = SimpleNamespace(write=ending_with(error), fileno=no_file)
    monkeypatch.setattr(sys, "stderr", stderr)
    assert command("https://host/x") == 0


# SIGTERM

PROGRAM = """
import os, signal, sys, time
from bert_ko.flags import run_command
from bert_ko.notification import notified
from tests.test_notification import Config

def run(config):
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.read(reader, 1)
        os.kill(child, signal.SIGTERM)
        print("a fork ended by", os.WTERMSIG(os.waitpid(child, 0)[1]), flush=True)
    else:
        os.write(writer, b"x")  # Python loses a signal that comes within the fork
    for _ in range(60):
        try:
            time.sleep(1)
        except BaseException:
            pass  # as TensorFlow does

sys.exit(run_command(Config, notified(run)))
"""


@contextlib.contextmanager
def running(*flags: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that has begun a run of a minute."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *flags], cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "a fork ended by 15\n"
            yield process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("is_open", [True, False])
def test_notified_sigterm_is_reported_and_ends_the_process(is_open: bool, webhook: Webhook) -> None:
    url = webhook.url if is_open else f"http://127.0.0.1:1/{SECRET}"
    with running(f"--notify_url={url}") as process:
        process.send_signal(signal.SIGTERM)
        printed = "" if is_open else f"{WARNING}ConnectionRefusedError\n"
        assert process.communicate(timeout=30)[0] == printed
        assert process.returncode == -signal.SIGTERM
    assert len(webhook.texts) == is_open
    start = "test_notification (base): stopped by SIGTERM after "
    assert all(text.startswith(start) for text in webhook.texts)


@pytest.mark.slow
def test_notified_second_sigterm_ends_the_process_at_once(webhook: Webhook) -> None:
    webhook.silence = 60.0
    with running(f"--notify_url={webhook.url}") as process:
        process.send_signal(signal.SIGTERM)
        while not webhook.received:  # the first notification is being sent
            assert process.poll() is None
            time.sleep(0.01)
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
        assert time.monotonic() - start < 2
    assert len(webhook.received) == 1


def test_notified_handler_of_another_stays(webhook: Webhook) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        during = []
        run = notified(lambda config: during.append(signal.getsignal(signal.SIGTERM)))
        run(Config(notify_url=webhook.url))
        assert during == [signal.SIG_IGN] == [signal.getsignal(signal.SIGTERM)]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_notified_outside_the_main_thread_sends_too(webhook: Webhook) -> None:
    run = notified(lambda config: None)
    thread = threading.Thread(target=run, args=(Config(notify_url=webhook.url),))
    with running_as("test_notification"):
        thread.start()
        thread.join()
    assert webhook.texts == [FINISHED]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


# The secret


def test_require_notify_url_webhook_is_accepted() -> None:
    for address in ("https://hooks.slack.com/a/T0/b", "http://localhost:8080", "http://[::1]:80/x"):
        require_notify_url(address)
    require_notify_url("HTTPS://host/x?y=z")
    assert notification._PATIENCE < 15


@pytest.mark.parametrize(
    ("problem", "urls"),
    [
        ("must be a URL, got an empty value", [""]),
        ("must begin with http:// or https://",
         [f"hooks.slack.com/{SECRET}", SECRET, f"ftp://host/{SECRET}", f"file:///{SECRET}"]),
        ("must have a host", [f"https:///{SECRET}", f"https://:80/{SECRET}", f"https:{SECRET}"]),
        ("has an invalid host or port",
         [f"https://host:x0Secret/{SECRET}", f"https://host:99999/{SECRET}",
          f"https://[x0Secret/{SECRET}"]),
        ("must not have a user name or a password",
         ["https://me:x0Secret@host/x", "https://x0Secret@host/x"]),
        ("must consist of ASCII characters without spaces",
         [f"https://host/{SECRET}\n", f"https://host/ {SECRET}", f"https://호스트/{SECRET}",
          f"\ufeffhttps://host/{SECRET}"]),
    ],
)  # fmt: skip
def test_notify_url_bad_value_is_refused_and_not_shown(
    problem: str, urls: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for url in urls:
        assert command(url, pytest.fail) == 1
        printed = capsys.readouterr().err
        assert printed.startswith(f"test_notification: error: --notify_url {problem}")
        assert printed.count("\n") == 1 and "Secret" not in printed


def test_notify_url_mistyped_flag_does_not_show_it() -> None:
    url = f"https://host/{SECRET}"
    for typed in (f"--notify_url= {url}", f"notify_url={url}", f"--notify_urll={url}"):
        with pytest.raises(FlagError) as caught:
            parse(Config, typed.split())
        assert "Secret" not in str(caught.value)


def test_notify_url_is_in_no_identity_and_no_repr() -> None:
    config = Config(notify_url=f"https://host/{SECRET}")
    assert "notify_url" not in output_flags(config) and "output_dir" in output_flags(config)
    assert "Secret" not in repr(config) and "runs/base" in repr(config)
    assert secret_flags(Config) == {"notify_url"}


def test_parse_argument_of_a_command_without_secrets_is_shown() -> None:
    @dataclass(frozen=True)
    class Open:
        files: str = flag("", help="Files.")

    with pytest.raises(FlagError, match="unexpected argument 'gs://bucket/가': only flags"):
        parse(Open, ["gs://bucket/가"])
