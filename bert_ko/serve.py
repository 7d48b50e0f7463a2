"""serve: trained models over HTTP, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bert_ko.flags import Flags, flag, run_command, run_module
from bert_ko.training.backend import Precision


@dataclass(frozen=True)
class ServeConfig(Flags):
    """Serves readers, classifiers, taggers and models that fill [MASK]: JSON, and a page to try.

    MODEL is a folder, and is served under its name. Prints the address of the page; Ctrl-C ends
    it. Needs bert_ko[serve].
    """

    group = "Limits and speed"

    model: tuple[str, ...] = flag(
        help="Folders of trained models, of several kinds if you like.", positional=True
    )
    host: str = flag(
        "127.0.0.1",
        main=True,
        help="Address to listen on. By default this machine alone can ask; there are no passwords.",
    )
    port: int = flag(
        8000,
        main=True,
        help="Port to listen on; 0 for any that is free.",
        at_least=0,
        at_most=65535,
    )
    max_characters: int = flag(
        20_000,
        help="Characters of the texts of a request; a context counts once for each question.",
        at_least=1,
    )
    max_body_bytes: int = flag(1 << 20, help="Bytes of a request.", at_least=1)
    max_seconds: float = flag(30.0, help="Seconds until a request is given up.", above=0)
    max_waiting: int = flag(
        64, help="Requests of a model that may wait; further ones get status 503.", at_least=1
    )
    batch_size: int = flag(8, help="Texts that are computed together.", at_least=1)
    batch_wait: float = flag(
        0.005, help="Seconds that a model waits for more requests to compute with the first one.",
        at_least=0,
    )  # fmt: skip
    precision: Precision = flag(
        "float32", help="Of matrix products; bfloat16 and auto are faster and less exact."
    )


def run(config: ServeConfig) -> None:
    """Opens the models, listens, and serves until a signal comes."""
    try:
        from bert_ko.serving.server import serve
    except ModuleNotFoundError as error:
        raise ValueError(
            f"serve needs the package {error.name}: pip install bert_ko[serve]"
        ) from None
    from bert_ko.serving.limits import Limits

    limits = Limits(
        characters=config.max_characters,
        body_bytes=config.max_body_bytes,
        seconds=config.max_seconds,
        waiting=config.max_waiting,
        batch_size=config.batch_size,
        batch_wait=config.batch_wait,
    )
    settings = {"batch_size": config.batch_size, "precision": config.precision}
    serve(config.model, config.host, config.port, limits, settings)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return run_command(ServeConfig, run, argv)


if __name__ == "__main__":
    run_module(__file__)
