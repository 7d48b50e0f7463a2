"""A notice to a webhook when the run of a command has ended, however it ended.

    def main() -> int:
        return run_command(Config, notified(run))

The notice is {"text": "run_squad (base): finished after 2 h 13 min; f1 90.12"}, as the incoming
webhooks of Slack take it, and those of others that follow Slack. No webhook, however broken, fails
a run, changes its exit status or holds it back for more than 12 seconds. Its URL is a secret: who
has it can write there. So it stands in no message and no file, and in no notice.
"""

from __future__ import annotations

import contextlib
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
from bert_ko.progress import program_name, warn

_ATTEMPTS = 3
_SILENCE = 3.0  # seconds that a server may say nothing
_PAUSE = 1.0  # seconds between two attempts
_PATIENCE = 12.0  # seconds for all of them: a name may resolve, and a server speak, for ever
_MAX_TEXT = 500  # characters of a notice, cut where an error says much
_NO_SCORES: Mapping[str, float] = MappingProxyType({})


class Notifiable(Protocol):
    """The Config of a command that trains."""

    @property
    def notify_url(self) -> str | None:
        """The webhook; None sends nothing."""

    @property
    def output_dir(self) -> str:
        """Folder of the run, whose last part names it in the notice."""


N = TypeVar("N", bound=Notifiable)


class Ending(NamedTuple):
    """What a run that has come to its end says of it.

    Attributes:
        scores: the main ones by name, as the notice shows them.
        step: updates done, where the run trained.
        num_train_steps: updates wanted; with fewer done, --max_hours were over.
    """

    scores: Mapping[str, float] = _NO_SCORES
    step: int = 0
    num_train_steps: int = 0


def require_notify_url(url: str) -> None:
    """Checks a webhook without asking it.

    Args:
        url: as --notify_url has it.

    Raises:
        ValueError: it is none; the message has nothing of the value.
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
        return "must be of ASCII characters without spaces; write others as %XX"
    try:
        parts = urlsplit(url)
        _ = parts.port  # the property reads it
    except ValueError:
        return "has a host or a port that can not be read"
    if parts.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    if not parts.hostname:
        return "must have a host"
    if "@" in parts.netloc:
        return "must have no user name and no password"
    return ""


def notified(run: Callable[[N], Ending | None]) -> Callable[[N], None]:
    """Wraps a command so that --notify_url is told how each run ended.

    Args:
        run: may return what to say of its end. What it raises passes, after the notice: an error
            has failed; KeyboardInterrupt, and SystemExit with 128 + a signal, were stopped. The
            notes of a SystemExit say where: "at step 1,200 of 7,500".

    Returns:
        The command for `run_command`. Where the run itself does not answer SIGTERM, the process
        ends by it, as it would have without a webhook, after the notice.
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
def _before_sigterm(tell: Callable[[SystemExit], None]) -> Iterator[None]:
    """Tells of SIGTERM before it ends the process; where somebody handles it, nothing changes.

    An exception would not do: TensorFlow swallows some, and the run would go on.
    """
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # the second one is not held back
        try:
            if os.getpid() == process:  # and not a fork of it
                tell(SystemExit(128 + number))
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
    """Returns how a run ended, and what else is to be said of that."""
    return _describe_end(outcome) if isinstance(outcome, Ending) else _describe_error(outcome)


def _describe_end(ending: Ending) -> tuple[str, str]:
    how = "finished"
    if ending.step < ending.num_train_steps:
        how = f"stopped by --max_hours {at_step(ending.step, ending.num_train_steps)}"
    scores = ", ".join(f"{name} {value:.4g}" for name, value in ending.scores.items())
    return how, f"; {scores}" if scores else ""


def _describe_error(error: BaseException) -> tuple[str, str]:
    where = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", ""
    if isinstance(error, SystemExit):
        if error.code == 128 + signal.SIGINT:
            return f"interrupted{where}", ""
        if error.code == 128 + signal.SIGTERM:
            return f"stopped by SIGTERM{where}", ""
        if error.code in (None, 0):
            return "finished", ""
        return "failed", f": exit status {error.code}"
    if isinstance(error, (ValueError, OSError)):
        return "failed", f": {error_message(error)}"
    message = error_message(error) if isinstance(error, Exception) else str(error)
    return "failed", f": {type(error).__name__}: {message}"


def at_step(step: int, num_train_steps: int) -> str:
    """Returns where training stands: "at step 1,200 of 7,500"."""
    return f"at step {step:,} of {num_train_steps:,}"


def _notify(config: Notifiable, start: float, outcome: Ending | BaseException) -> None:
    """Sends a notice, or warns; whatever happens, the run ends as it would have."""
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
        problem = type(error).__name__  # its message may have the URL
    if problem:
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # gone, or being written
            warn(f"--notify_url: the webhook did not take the notice: {problem}")


def format_duration(seconds: float) -> str:
    """Returns a duration in words: "45 s", "13 min", "2 h 13 min"."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _clean(text: str, secret: str) -> str:
    """Returns a line of bounded length without the secret, in which Slack sees no mark-up.

    Source: Slack, "Formatting text for app surfaces": &, < and > are to be escaped, and <!channel>
    would call everybody.
    """
    line = " ".join(text.replace(secret, "[--notify_url]").split())
    if len(line) > _MAX_TEXT:
        line = line[: _MAX_TEXT - 1] + "…"
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        line = line.replace(character, entity)
    return line


def _send(url: str, text: str) -> str:
    """Posts the text; returns what went wrong, "" for nothing."""
    body = json.dumps({"text": text}, ensure_ascii=False).encode("utf-8", "replace")
    problems: list[str] = []
    # Timeouts of sockets bound neither the look-up of a name nor a server that drips.
    thread = threading.Thread(target=lambda: problems.append(_deliver(url, body)), daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return problems[0] if problems else f"it took more than {_PATIENCE:g} s"


def _deliver(url: str, body: bytes) -> str:
    problem, is_lasting = _post(url, body)
    for _ in range(_ATTEMPTS - 1):
        if not problem or is_lasting:
            break
        time.sleep(_PAUSE)
        problem, is_lasting = _post(url, body)
    return problem


def _post(url: str, body: bytes) -> tuple[str, bool]:
    """Returns what went wrong, and whether it would again; nothing of it has the URL."""
    # Here, because --help is to answer at once.
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class NoRedirects(HTTPRedirectHandler):
        """What was posted would be lost on the way, and 200 be answered to a GET."""

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
    except Exception as error:  # of the network, of TLS, or of what the server sent
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            return f"no answer within {_SILENCE:g} s", False
        return type(reason if isinstance(reason, Exception) else error).__name__, False
