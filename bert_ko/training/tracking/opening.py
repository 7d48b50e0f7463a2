"""The trackers that --report_to names."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bert_ko import files
from bert_ko.copies import local_path
from bert_ko.messages import say
from bert_ko.training.tracking.remote import Remote
from bert_ko.training.tracking.tensorboard import TensorBoard
from bert_ko.training.tracking.tracker import Status, Tracker, Trackers

_PATIENCE = 15.0  # seconds that a session waits for all services together


def require_services(names: Sequence[str], output_dir: str) -> None:
    """Checks --report_to without importing a service's package.

    Raises:
        ValueError: a package is missing, or a service's own store can't be in --output_dir.
    """
    for name in names:
        if name == "tensorboard":  # written without it
            continue
        # Of MLflow's own stores, that in a file needs more than its client.
        is_local = name == "mlflow" and not os.environ.get("MLFLOW_TRACKING_URI")
        if is_local and files.is_remote(output_dir):
            raise ValueError(
                f"--report_to=mlflow has no server, and its own database can't be in {output_dir}; "
                "set MLFLOW_TRACKING_URI."
            )
        for package in (name, *(("sqlalchemy", "alembic") if is_local else ())):
            if not _is_installed(package):
                raise ValueError(
                    f"--report_to={name} needs the package {package}: pip install 'bert_ko[{name}]'"
                )


def _is_installed(package: str) -> bool:
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None  # a mere folder has none


@contextmanager
def opened_trackers(names: Sequence[str], output_dir: str) -> Iterator[Tracker]:
    """Opens what a session tells of its runs, and says in the end how to see the curves.

    Args:
        names: of SERVICES.
        output_dir: of the command.
    """
    trackers = Trackers(
        [
            TensorBoard(output_dir)
            if name == "tensorboard"
            else Remote(name, local_path(output_dir))
            for name in dict.fromkeys(names)
        ]
    )
    status: Status = "FINISHED"
    try:
        yield trackers
    except BaseException as error:
        status = _status(error)
        raise
    finally:
        for line in trackers.close(status, time.monotonic() + _PATIENCE):
            say(line)


def _status(error: BaseException) -> Status:
    """A signal that ends training well raises SystemExit with a number above 128."""
    if isinstance(error, SystemExit):
        return "KILLED" if isinstance(error.code, int) and error.code > 128 else "FAILED"
    return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
