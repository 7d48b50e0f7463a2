"""Notification of a webhook when a run ends, however it ends.

    def main() -> int:
        return run_command(Config, notified(run))

It posts {"text": "run_squad (base): finished after 2 h 13 min; f1 90.12"}, the format of Slack's
incoming webhooks, which others have adopted. No webhook, however broken, fails a run, changes its
exit status or delays it for more than 12 seconds. The URL is a secret, as whoever has it can post:
it appears in no message, no file and no notification.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FrameType, MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

from bert_ko.flags import error_message
from bert_ko.messages import program_name, warn

_ATTEMPTS = 3
_SILENCE = 3.0  # seconds that a server may be silent
_PAUSE = 1.0  # seconds between two attempts
_PATIENCE = 12.0  # seconds for all of them: resolving a name, or an answer, may never end
_MAX_TEXT = 500  # characters of a notification; longer ones are cut


class Notifiable(Protocol):
    """The Config of a command that trains."""

    @property
    def notify_url(self) -> str | None:
        """The webhook; None sends nothing."""

    @property
    def output_dir(self) -> str:
        """Folder of the run; its last part names the run."""


N = TypeVar("N", bound=Notifiable)


class Ending(NamedTuple):
    """What a run reports when it ends."""

    scores: Mapping[str, float] = MappingProxyType({})  # the main ones, by name as shown
    step: int = 0  # updates done, if the run trained
    num_train_steps: int = 0  # updates wanted; if fewer are done, --max_hours was reached


def require_notify_url(url: str) -> None:
    """Checks the URL of a webhook without opening it.

    Raises:
        ValueError: It is invalid; the message does not show it.
    """
    problem = _problem_of_url(url)
    if problem:
        raise ValueError(
            f"--notify_url {problem} (the value is a secret and not shown). Give the URL of the "
            "webhook as https://host/path, or leave the flag out."
        )


def _problem_of_url(url: str) -> str:
    if not url:
        return "must be a URL, got an empty value"
    if not all("!" <= character <= "~" for character in url):
        return "must consist of ASCII characters without spaces; write others as %XX"
    try:
        parts = urlsplit(url)
        _ = parts.port  # the property parses it
    except ValueError:
        return "has an invalid host or port"
    if parts.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    if not parts.hostname:
        return "must have a host"
    return "must not have a user name or a password" if "@" in parts.netloc else ""


def notified(run: Callable[[N], Ending | None]) -> Callable[[N], None]:
    """Wraps a command so that --notify_url is notified when the run ends.

    Args:
        run: Returns what to report. Its exceptions pass after the notification: KeyboardInterrupt,
            and SystemExit with 128 + a signal, mean that it was stopped, others that it failed. The
            notes of a SystemExit say where: "at step 1,200 of 7,500".

    Returns:
        The command for `run_command`. Unless the run itself handles SIGTERM, that signal ends the
        process, as it does without a webhook, after the notification.
    """

    def run_and_notify(config: N) -> None:
        if config.notify_url is None:
            run(config)
            return
        start = time.monotonic()
        try:
            with _before_sigterm(partial(_notify, config, start)):
                ending = run(config) or Ending()
        except BaseException as error:
            _notify(config, start, error)
            raise
        _notify(config, start, ending)

    return run_and_notify


@contextlib.contextmanager
def _before_sigterm(notify: Callable[[SystemExit], None]) -> Iterator[None]:
    """Notifies before SIGTERM ends the process; a handler that is already set stays.

    Raising an exception would not work: TensorFlow swallows some, and the run would continue.
    """
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once
        try:
            if os.getpid() == process:  # not a fork of it
                notify(SystemExit(128 + number))
        finally:
            os.kill(os.getpid(), number)

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _describe(outcome: Ending | BaseException) -> tuple[str, str]:
    """Returns how a run ended, and details."""
    if isinstance(outcome, Ending):
        how = "finished"
        if outcome.step < outcome.num_train_steps:
            how = f"stopped by --max_hours {at_step(outcome.step, outcome.num_train_steps)}"
        scores = ", ".join(f"{name} {value:.4g}" for name, value in outcome.scores.items())
        return how, f"; {scores}" if scores else ""
    where = "".join(f" {note}" for note in getattr(outcome, "__notes__", ()))
    match outcome:
        case KeyboardInterrupt():
            return "interrupted", ""
        case SystemExit(code=code):
            if code in (None, 0):
                return "finished", ""
            if code == 128 + signal.SIGINT:
                return f"interrupted{where}", ""
            if code == 128 + signal.SIGTERM:
                return f"stopped by SIGTERM{where}", ""
            return "failed", f": exit status {code}"
        case ValueError() | OSError():
            return "failed", f": {error_message(outcome)}"
    message = error_message(outcome) if isinstance(outcome, Exception) else str(outcome)
    return "failed", f": {type(outcome).__name__}: {message}"


def at_step(step: int, num_train_steps: int) -> str:
    """Returns the state of training: "at step 1,200 of 7,500"."""
    return f"at step {step:,} of {num_train_steps:,}"


def _notify(config: Notifiable, start: float, outcome: Ending | BaseException) -> None:
    """Sends a notification, or warns; whatever happens, the run ends as it would have."""
    try:
        assert config.notify_url is not None
        how, detail = _describe(outcome)
        name = os.path.basename(os.path.abspath(config.output_dir))
        duration = format_duration(time.monotonic() - start)
        text = f"{program_name()} ({name}): {how} after {duration}{detail}"
        problem = _send(config.notify_url, _clean(text, config.notify_url))
    except KeyboardInterrupt:
        problem = "interrupted"
    except Exception as error:
        problem = type(error).__name__  # its message may contain the URL
    if problem:
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # stderr is gone or in use
            warn(f"--notify_url: the webhook did not accept the notification: {problem}")


def format_duration(seconds: float) -> str:
    """Returns a duration in words: "45 s", "13 min", "2 h 13 min"."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _clean(text: str, secret: str) -> str:
    """Returns one line of bounded length without the secret and without Slack's mark-up.

    Source: Slack, "Formatting text for app surfaces": &, < and > must be escaped, and <!channel>
    would notify everybody.
    """
    line = " ".join(text.replace(secret, "[--notify_url]").split())
    if len(line) > _MAX_TEXT:
        line = line[: _MAX_TEXT - 1] + "…"
    return html.escape(line, quote=False)


def _send(url: str, text: str) -> str:
    """Posts the text; returns what went wrong, or ""."""
    body = json.dumps({"text": text}, ensure_ascii=False).encode("utf-8", "replace")
    problems: list[str] = []
    # Socket timeouts limit neither the resolution of a name nor a server that drips.
    thread = threading.Thread(target=lambda: problems.append(_deliver(url, body)), daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return problems[0] if problems else f"it took more than {_PATIENCE:g} s"


def _deliver(url: str, body: bytes) -> str:
    for attempt in range(_ATTEMPTS):
        time.sleep(_PAUSE if attempt else 0.0)
        problem, is_lasting = _post(url, body)
        if not problem or is_lasting:
            break
    return problem


def _post(url: str, body: bytes) -> tuple[str, bool]:
    """Returns what went wrong, without the URL, and whether trying again is useless."""
    # Imported here to keep --help fast.
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class NoRedirects(HTTPRedirectHandler):
        """A redirect would turn the POST into a GET and drop the text, yet answer 200."""

        def redirect_request(self, *args: Any) -> None:
            return None

    # Discord's webhooks refuse Python's own User-Agent.
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "bert_ko"}
    try:
        with build_opener(NoRedirects).open(Request(url, body, headers), timeout=_SILENCE):
            return "", False
    except HTTPError as error:
        error.close()
        return f"the server answered {error.code}", error.code < 500 and error.code != 429
    except Exception as error:  # from the network, TLS, or parsing the answer
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            return f"no answer within {_SILENCE:g} s", False
        return type(reason if isinstance(reason, Exception) else error).__name__, False
