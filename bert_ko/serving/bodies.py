"""The JSON of requests and answers. Places are in characters, that is in Unicode code points."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from bert_ko.serving.limits import MAX_CANDIDATES, MAX_MASKS, MAX_TEXTS
from bert_ko.tasks.fill_mask.masked_lm import MASK

_SHOWN = 40  # characters of an unknown field
_IMPOSSIBLE = re.compile("[\x00\ud800-\udfff]")


def _possible(text: str) -> str:
    if (found := _IMPOSSIBLE.search(text)) is not None:
        name = "NUL" if found[0] == "\x00" else "half of a surrogate pair"
        raise ValueError(f"character {found.start()} is {name}, which no text has")
    return text


Text = Annotated[str, AfterValidator(_possible)]
Pair = Annotated[list[Text], Field(min_length=2, max_length=2)]
TopK = Annotated[int, Field(strict=True, ge=1, le=MAX_CANDIDATES)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]
# Told apart by their types, so that an error is that of what was meant.
TextOrPair = Annotated[
    Annotated[Text, Tag("text")] | Annotated[Pair, Tag("pair")],
    Discriminator(lambda value: "pair" if isinstance(value, list) else "text"),
]
TextsOrPairs = Annotated[list[TextOrPair], Field(min_length=1, max_length=MAX_TEXTS)]
TAGS = frozenset({"text", "pair"})  # in the places of errors


class Request(BaseModel):
    """Base class of what a model is asked; a field that it doesn't know is an error."""

    example: ClassVar[dict[str, Any]]

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        """The schema, with what pydantic does not know."""
        found = handler.resolve_ref_schema(handler(schema))
        return found | {"additionalProperties": False, "examples": [cls.example]}

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, values: Any) -> Any:
        # The first one alone: pydantic would make an error of each of 100,000.
        if isinstance(values, dict):
            unknown = next((str(name) for name in values if name not in cls.model_fields), None)
            if unknown is not None:
                known = ", ".join(cls.model_fields)
                raise ValueError(f"unknown field {unknown[:_SHOWN]!r}; there are: {known}")
        return values

    @abstractmethod
    def pieces(self) -> Iterator[str]:
        """All texts that are computed, as often as they are."""

    @property
    @abstractmethod
    def num_texts(self) -> int:
        """Texts or questions."""


class TextsRequest(Request):
    """Base class of requests that are a list of texts."""

    texts: Texts = Field(description="Texts.")

    def pieces(self) -> Iterator[str]:
        """See Request."""
        yield from self.texts

    @property
    def num_texts(self) -> int:
        """See Request."""
        return len(self.texts)


class ReaderRequest(Request):
    """Questions on a context."""

    example: ClassVar[dict[str, Any]] = {
        "context": "솔내 마을 도서관은 1987년 봄에 문을 열었다. 처음에는 책이 삼백 권뿐이었지만, "
        "주민들이 책을 기증하면서 십 년 만에 이만 권으로 늘었다. 지금은 사서 두 사람이 일한다.",
        "questions": ["도서관은 언제 문을 열었나?", "책을 기증한 사람은 누구인가?"],
    }
    context: Text = Field(description="The text that has the answers.")
    questions: Texts = Field(description="Questions on it.")
    top_k: TopK = Field(3, description="Candidates of each answer.")

    def pieces(self) -> Iterator[str]:
        """See Request."""
        for question in self.questions:
            yield from (self.context, question)

    @property
    def num_texts(self) -> int:
        """See Request."""
        return len(self.questions)


class ClassifierRequest(Request):
    """Texts or pairs to classify."""

    example: ClassVar[dict[str, Any]] = {
        "texts": ["배우들의 연기가 좋아서 두 시간이 금방 지나갔다."]
    }
    texts: TextsOrPairs = Field(description="Texts, or pairs of texts as lists of two.")

    def pieces(self) -> Iterator[str]:
        """See Request."""
        for text in self.texts:
            yield from [text] if isinstance(text, str) else text

    @property
    def num_texts(self) -> int:
        """See Request."""
        return len(self.texts)


class TaggerRequest(TextsRequest):
    """Texts to find the entities of."""

    example: ClassVar[dict[str, Any]] = {
        "texts": ["김서연 씨는 지난 금요일에 부산에서 열린 바다 축제에 다녀왔다."]
    }


def _with_few_masks(text: str) -> str:
    if (count := text.count(MASK)) > MAX_MASKS:  # each takes a probability of every token
        raise ValueError(f"{count} {MASK}s, more than {MAX_MASKS}")
    return text


class MaskRequest(TextsRequest):
    """Texts with [MASK]."""

    example: ClassVar[dict[str, Any]] = {"texts": ["마을 도서관에서 [MASK]을 빌려 읽었다."]}
    texts: Annotated[
        list[Annotated[Text, AfterValidator(_with_few_masks)]],
        Field(min_length=1, max_length=MAX_TEXTS),
    ] = Field(description=f"Texts, each with one {MASK} or more, up to {MAX_MASKS}.")
    top_k: TopK = Field(5, description="Tokens for each [MASK].")


class Span(BaseModel):
    """A part of a text."""

    text: str = Field(description='The part from start to end; "" says that there is no answer.')
    start: int = Field(description="Its first character.")
    end: int = Field(description="The character after its last.")
    probability: float = Field(
        description="Of an answer before josa are cut off; of an entity, the least of its "
        "characters or words."
    )


class Answered(Span):
    """The answer to a question."""

    candidates: list[Span] = Field(description="The likeliest answers, josa not cut off.")


class Entity(Span):
    """A named entity."""

    label: str = Field(description="Its type, such as PS.")


class Tagged(BaseModel):
    """The entities of a text."""

    entities: list[Entity] = Field(description="In the order of the text.")


class Classified(BaseModel):
    """The class of a text."""

    label: str = Field(description="The likeliest class.")
    probability: float = Field(description="Of that class.")
    probabilities: dict[str, float] = Field(description="Of all classes.")


class Scored(BaseModel):
    """The score of a text, of a model that was trained for scores."""

    score: float = Field(description="The score.")


class Filling(BaseModel):
    """A token for a mask."""

    piece: str = Field(description="The token; ## says that it continues a word.")
    probability: float = Field(description="Of that token.")


class FilledMask(BaseModel):
    """A mask of a text."""

    start: int = Field(description="Its first character.")
    candidates: list[Filling] = Field(description="The likeliest tokens.")


class Filled(BaseModel):
    """The masks of a text, each filled by itself."""

    masks: list[FilledMask] = Field(description="In the order of the text.")


class ReaderResponse(BaseModel):
    """An answer to each question."""

    results: list[Answered]


class ClassifierResponse(BaseModel):
    """A class, or a score, of each text."""

    results: list[Classified | Scored]


class TaggerResponse(BaseModel):
    """The entities of each text."""

    results: list[Tagged]


class MaskResponse(BaseModel):
    """The masks of each text."""

    results: list[Filled]


class Problem(BaseModel):
    """Why there is no answer."""

    error: str = Field(description="One sentence.")


class ModelHealth(BaseModel):
    """State of a model."""

    name: str
    kind: str
    ready: bool = Field(description="It has been compiled.")
    waiting: int = Field(description="Requests that wait to be computed.")


class Health(BaseModel):
    """State of the server."""

    status: str = Field(description="ready, or starting while models are compiled.")
    models: list[ModelHealth]
