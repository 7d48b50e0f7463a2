"""The notice of a run's end: what it says, against servers of every manner, and what it hides."""

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bert_ko import notification
from bert_ko.flags import (
    FlagError,
    error_message,
    flag,
    output_flags,
    parse,
    run_command,
    secret_flags,
)
from bert_ko.notification import (
    Ending,
    at_step,
    format_duration,
    notified,
    require_notify_url,
)
from bert_ko.progress import running_as
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
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notification, "_PAUSE", 0.01)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same manners in a tenth of the time."""
    monkeypatch.setattr(notification, "_SILENCE", 0.2)
    monkeypatch.setattr(notification, "_PATIENCE", 1.0)


def command(url: str, run: Callable[[Any], Any], *flags: str) -> int:
    """Runs a command of the house; returns its exit status."""
    return run_command(Config, notified(run), [f"--notify_url={url}", *flags])


def failing(error: BaseException) -> Callable[[Any], None]:
    def run(config: Any) -> None:
        raise error

    return run


# What it says


def test_notified_finished_run_posts_json_as_slack_takes_it(
    webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(webhook.url, lambda config: Ending({"f1": 90.1234, "가나": 1 / 3})) == 0
    ((method, path, headers, body),) = webhook.received
    assert (method, path) == ("POST", f"/services/{SECRET}")
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert "Python" not in headers["User-Agent"]  # some webhooks refuse it
    text = "test_notification (base): finished after 0 s; f1 90.12, 가나 0.3333"
    assert body.decode("utf-8") == f'{{"text": "{text}"}}'
    assert capsys.readouterr() == ("", "")


def test_notified_run_that_says_nothing_has_finished(webhook: Webhook) -> None:
    assert command(webhook.url, lambda config: None) == 0
    assert webhook.texts == ["test_notification (base): finished after 0 s"]


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (Ending({}, 7500, 7500), "finished after 0 s"),
        (Ending({}, 1200, 7500), "stopped by --max_hours at step 1,200 of 7,500 after 0 s"),
        (Ending({"f1": 80.0}, 0, 9), "stopped by --max_hours at step 0 of 9 after 0 s; f1 80"),
    ],
)
def test_notified_steps_tell_whether_hours_were_over(
    ending: Ending, text: str, webhook: Webhook
) -> None:
    assert command(webhook.url, lambda config: ending) == 0
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


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ValueError("corpus.txt:3: 줄이 깁니다.\n  Cut it."), 1,
         "failed after 0 s: corpus.txt:3: 줄이 깁니다. Cut it."),
        (FileNotFoundError(2, "No such file or directory", "vocab.txt"), 1,
         "failed after 0 s: vocab.txt: No such file or directory"),
        (ValueError(""), 1, "failed after 0 s: ValueError"),
        (ValueError("<!channel> a & b"), 1, "failed after 0 s: &lt;!channel&gt; a &amp; b"),
        (ValueError("name \udcff"), 1, "failed after 0 s: name ?"),
        (KeyboardInterrupt(), 130, "interrupted after 0 s"),
    ],
)  # fmt: skip
def test_notified_error_of_the_user_is_its_line_and_status_stays(
    error: BaseException, code: int, text: str, webhook: Webhook
) -> None:
    assert command(webhook.url, failing(error)) == code
    assert webhook.texts == [f"test_notification (base): {text}"]


def test_notified_dead_worker_is_told_as_the_command_prints_it(webhook: Webhook) -> None:
    error = BrokenProcessPool("x")
    assert command(webhook.url, failing(error)) == 1
    (text,) = webhook.texts
    assert (
        text
        == f"test_notification (base): failed after 0 s: BrokenProcessPool: {error_message(error)}"
    )


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (130, "interrupted at step 5 of 9 after 0 s"),
        (143, "stopped by SIGTERM at step 5 of 9 after 0 s"),
        (0, "finished after 0 s"),
        (None, "finished after 0 s"),
        (3, "failed after 0 s: exit status 3"),
    ],
)
def test_notified_exit_passes_and_its_notes_say_where(
    code: int | None, text: str, webhook: Webhook
) -> None:
    error = SystemExit(code)
    error.add_note(at_step(5, 9))
    with pytest.raises(SystemExit) as caught:
        command(webhook.url, failing(error))
    assert caught.value is error and error.code == code
    assert webhook.texts == [f"test_notification (base): {text}"]


@pytest.mark.parametrize("error", [KeyError("가"), RuntimeError("x"), MemoryError()])
def test_notified_bug_passes_unchanged_with_its_traceback(
    error: Exception, webhook: Webhook
) -> None:
    with pytest.raises(type(error)) as caught:
        command(webhook.url, failing(error))
    assert caught.value is error and caught.value.__context__ is None
    assert caught.traceback[-1].name == "run"
    assert webhook.texts[0].startswith(
        f"test_notification (base): failed after 0 s: {type(error).__name__}: {error!s}"
    )


def test_notified_long_message_is_cut(webhook: Webhook) -> None:
    assert command(webhook.url, failing(ValueError("<" * 100_000))) == 1
    (text,) = webhook.texts
    shown = text.replace("&lt;", "<")
    assert len(shown) == 500 and shown.endswith("<<…")


def test_notified_names_no_host_and_the_last_folder_only(webhook: Webhook) -> None:
    flags = ("--output_dir=/home/me/모델/../base-2/",)
    assert command(webhook.url, lambda config: None, *flags) == 0
    assert webhook.texts == ["test_notification (base-2): finished after 0 s"]
    assert socket.gethostname() not in webhook.received[0][3].decode()


def test_notified_without_url_sends_nothing_and_leaves_signals_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: object) -> str:
        raise AssertionError("a notice was sent")

    monkeypatch.setattr(notification, "_send", refuse)
    handlers = []
    run = notified(lambda config: handlers.append(signal.getsignal(signal.SIGTERM)))
    assert run_command(Config, run, []) == 0
    with pytest.raises(KeyError):
        run_command(Config, notified(failing(KeyError())), [])
    assert handlers == [signal.getsignal(signal.SIGTERM)]


def test_notified_help_and_wrong_flags_send_nothing(
    webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(webhook.url, lambda config: None, "--help") == 0
    assert command(webhook.url, lambda config: None, "--max_hours=0") == 1
    assert webhook.received == []
    assert SECRET not in "".join(capsys.readouterr())


# Servers of every manner


WARNING = "test_notification: warning: --notify_url: the webhook did not accept the notification: "


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
    ],
)
def test_notified_rude_server_is_a_warning(
    answer: bytes, attempts: int, problem: str, webhook: Webhook, capfd: pytest.CaptureFixture[str]
) -> None:
    webhook.answers = [answer]
    assert command(webhook.url, lambda config: None) == 0
    assert len(webhook.received) == attempts
    assert capfd.readouterr() == ("", f"{WARNING}{problem}\n")


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_notified_rude_server_changes_no_exit_status(
    error: BaseException, webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook.answers = [status(404)]
    assert command(webhook.url, failing(error)) == (1 if isinstance(error, ValueError) else 130)
    warning, line = capsys.readouterr().err.splitlines()
    assert warning.startswith(WARNING) and line.startswith("test_notification: ")


def test_notified_server_that_recovers_gets_the_notice(
    webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook.answers = [status(503), b"", status(204)]
    assert command(webhook.url, lambda config: None) == 0
    assert webhook.texts == ["test_notification (base): finished after 0 s"] * 3
    assert capsys.readouterr().err == ""


def test_notified_server_that_drips_is_left(
    impatient: None, webhook: Webhook, capfd: pytest.CaptureFixture[str]
) -> None:
    webhook.answers = [DRIP]
    start = time.monotonic()
    assert command(webhook.url, lambda config: None) == 0
    assert 0.9 < time.monotonic() - start < 5
    assert len(webhook.received) == 1
    assert capfd.readouterr() == ("", f"{WARNING}it took more than 1 s\n")


def test_notified_patience_is_shorter_than_15_seconds() -> None:
    assert notification._PATIENCE < 15


def test_notified_silent_server_is_left_after_three_attempts(
    impatient: None,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(notification, "_PATIENCE", 30.0)
    webhook.silence = 60.0
    start = time.monotonic()
    assert command(webhook.url, lambda config: None) == 0
    assert 0.6 < time.monotonic() - start < 10
    assert len(webhook.received) == 3
    assert capsys.readouterr().err == f"{WARNING}no answer within 0.2 s\n"


def test_notified_answer_with_a_body_without_end_is_not_read(webhook: Webhook) -> None:
    webhook.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n" + b"x" * 1000]
    assert command(webhook.url, lambda config: None) == 0
    assert len(webhook.received) == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_notified_redirect_is_not_followed(
    code: int, webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as other:
        webhook.answers = [status(code, f"Location: {other.url}")]
        assert command(webhook.url, lambda config: None) == 0
        assert other.received == []
    assert len(webhook.received) == 1
    assert capsys.readouterr().err == f"{WARNING}the server answered {code}\n"


def test_notified_dead_port_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/{SECRET}"
        assert command(url, lambda config: None) == 0
    assert capsys.readouterr().err == f"{WARNING}ConnectionRefusedError\n"


def test_notified_port_that_speaks_no_tls_is_a_warning(
    webhook: Webhook, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(webhook.url.replace("http:", "https:"), lambda config: None) == 0
    warning = capfd.readouterr().err
    assert warning.startswith(WARNING) and warning.count("\n") == 1
    assert SECRET not in warning and "127.0.0.1" not in warning


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name"), UnicodeError("label too long")])
def test_notified_name_that_does_not_resolve_is_a_warning(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def resolve(*args: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert command("https://hooks.invalid/x", lambda config: None) == 0
    assert capsys.readouterr().err == f"{WARNING}{type(error).__name__}\n"


def test_notified_name_that_resolves_for_ever_is_left(
    impatient: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    is_over = threading.Event()

    def resolve(*args: object) -> None:
        is_over.wait(60)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    start = time.monotonic()
    assert command("https://hooks.invalid/x", lambda config: None) == 0
    is_over.set()
    assert 0.9 < time.monotonic() - start < 5
    assert capsys.readouterr().err == f"{WARNING}it took more than 1 s\n"


def test_notified_proxy_of_the_environment_is_asked(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{webhook.server_port}")
    assert command("http://hooks.invalid/x", lambda config: None) == 0
    assert [path for _, path, _, _ in webhook.received] == ["http://hooks.invalid/x"]


def test_notified_proxy_that_is_no_address_is_a_warning(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("http_proxy", "http://user:word@127.0.0.1:port")
    assert command(webhook.url, lambda config: None) == 0
    warning = capsys.readouterr().err
    assert warning == f"{WARNING}InvalidURL\n" and webhook.received == []


def test_notified_ctrl_c_ends_the_notice_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notification, "_send", lambda url, text: failing(KeyboardInterrupt())(0))
    assert command("https://host/x", lambda config: None) == 0
    assert capsys.readouterr().err == f"{WARNING}interrupted\n"


def test_notified_ending_that_can_not_be_shown_fails_nothing(
    webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(webhook.url, lambda config: Ending({"f1": "90"})) == 0  # type: ignore[dict-item]
    assert capsys.readouterr().err == f"{WARNING}ValueError\n"


@pytest.mark.parametrize("error", [BrokenPipeError(), RuntimeError("reentrant call")])
def test_notified_without_threads_or_standard_error_ends_as_it_would(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: object) -> None:
        raise RuntimeError("can't start new thread")

    class Gone:
        def write(self, text: str) -> None:
            raise error

    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr(sys, "stderr", Gone())
    assert command("https://host/x", lambda config: None) == 0


# SIGTERM

PROGRAM = """
import os, signal, sys, time
from dataclasses import dataclass
from pathlib import Path
from bert_ko.flags import flag, run_command
from bert_ko.notification import notified
from bert_ko.training.settings import LoopFlags

@dataclass(frozen=True)
class Config(LoopFlags):
    output_dir: str = flag("runs/base", help="Folder.")

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

sys.argv[0] = "test_notification.py"
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


def test_notified_sigterm_is_told_and_the_process_ends_by_it(webhook: Webhook) -> None:
    with running(f"--notify_url={webhook.url}") as process:
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30)[0] == ""
        assert process.returncode == -signal.SIGTERM
    (text,) = webhook.texts
    assert text.startswith("test_notification (base): stopped by SIGTERM after ")


def test_notified_second_sigterm_ends_the_process_at_once(webhook: Webhook) -> None:
    webhook.silence = 60.0
    with running(f"--notify_url={webhook.url}") as process:
        process.send_signal(signal.SIGTERM)
        while not webhook.received:  # the first notice is under way
            assert process.poll() is None
            time.sleep(0.01)
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
        assert time.monotonic() - start < 2
    assert len(webhook.received) == 1


def test_notified_sigterm_and_a_dead_webhook_end_the_process_by_it() -> None:
    with running(f"--notify_url=http://127.0.0.1:1/{SECRET}") as process:
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30)[0] == f"{WARNING}ConnectionRefusedError\n"
        assert process.returncode == -signal.SIGTERM


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
    assert webhook.texts == ["test_notification (base): finished after 0 s"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


# The secret


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com/services/T0/B0/x", "http://localhost:8080", "HTTPS://host/x?y=z",
        "http://[::1]:80/x",
    ],
)  # fmt: skip
def test_require_notify_url_webhook_is_accepted(url: str) -> None:
    require_notify_url(url)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "must be a URL, got an empty value"),
        (f"hooks.slack.com/{SECRET}", "must begin with http:// or https://"),
        (SECRET, "must begin with http:// or https://"),
        (f"ftp://host/{SECRET}", "must begin with http:// or https://"),
        (f"file:///{SECRET}", "must begin with http:// or https://"),
        (f"https:///{SECRET}", "must have a host"),
        (f"https://:80/{SECRET}", "must have a host"),
        (f"https:{SECRET}", "must have a host"),
        (f"https://host:x0Secret/{SECRET}", "has an invalid host or port"),
        (f"https://host:99999/{SECRET}", "has an invalid host or port"),
        (f"https://[x0Secret/{SECRET}", "has an invalid host or port"),
        ("https://me:x0Secret@host/x", "must not have a user name or a password"),
        ("https://x0Secret@host/x", "must not have a user name or a password"),
        (f"https://host/{SECRET}\n", "must consist of ASCII characters without spaces"),
        (f"https://host/ {SECRET}", "must consist of ASCII characters without spaces"),
        (f"https://호스트/{SECRET}", "must consist of ASCII characters without spaces"),
        (f"\ufeffhttps://host/{SECRET}", "must consist of ASCII characters without spaces"),
    ],
)
def test_notify_url_bad_value_is_refused_and_not_shown(
    url: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(url, failing(AssertionError("it ran"))) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"test_notification: error: --notify_url {problem}")
    assert printed.count("\n") == 1 and "Secret" not in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ["--notify_url=", f"https://host/{SECRET}"],
        [f"notify_url=https://host/{SECRET}"],
        [f"--notify_urll=https://host/{SECRET}"],
        [f"--notifyurl=https://host/{SECRET}"],
    ],
)
def test_notify_url_mistyped_flag_does_not_show_it(arguments: list[str]) -> None:
    with pytest.raises(FlagError) as caught:
        parse(Config, arguments)
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


def test_notified_error_that_has_the_url_is_told_without_it(webhook: Webhook) -> None:
    assert command(webhook.url, failing(ValueError(f"can't open {webhook.url}."))) == 1
    assert webhook.texts == [
        "test_notification (base): failed after 0 s: can't open [--notify_url]."
    ]
