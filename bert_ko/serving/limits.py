"""What a server takes at most, so that no client can exhaust its memory or its time."""

from __future__ import annotations

from dataclasses import dataclass

MAX_TEXTS = 64  # texts or questions of a request; a part of the schema
MAX_CANDIDATES = 20  # answers to a question, tokens for a mask
MAX_MASKS = 16  # of a text


@dataclass(frozen=True)
class Limits:
    """Limits of a server; ``bert_ko.serve`` has the flags of the first six."""

    characters: int = 20_000  # of a request; a context counts once for each of its questions
    body_bytes: int = 1 << 20
    seconds: float = 30.0  # until a request is answered, from when all of it has been read
    waiting: int = 64  # requests of a model that wait to be computed
    batch_size: int = 8  # texts that are computed together
    batch_wait: float = 0.005  # seconds that an idle model waits for more requests
    header_seconds: float = 10.0  # until the head of a request has been read, from its beginning
    body_seconds: float = 20.0  # until its body has been read
    send_seconds: float = 20.0  # in which a client must take a part of an answer

    def connections(self, num_models: int) -> int:
        """Connections that may be open: as many as may wait, and some to be told that they must."""
        return self.waiting * num_models + 64
