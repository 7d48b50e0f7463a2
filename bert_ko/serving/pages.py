"""The page on which a person asks models, and the page that says how programs do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bert_ko.report.rendering import inline, read, render, script_json
from bert_ko.serving.limits import Limits
from bert_ko.serving.served import Served

_FOLDER = "serving/templates"


class Field(NamedTuple):
    """A field of a JSON object."""

    name: str  # with those of the objects that it is in: results[].text
    kind: str
    description: str


class Operation(NamedTuple):
    """An address, and what it takes and gives."""

    id: str
    method: str
    path: str
    summary: str
    example: str  # JSON to send, or ""
    schemas: list[tuple[str, list[Field]]]
    refusals: list[tuple[str, str]]  # status and reason


def render_home(served: Sequence[Served[Any, Any]], limits: Limits) -> str:
    """The page for a person; it asks nobody but the server."""
    models = [
        {"name": one.name, "kind": one.kind, "path": one.path, "example": one.request.example}
        for one in served
    ]
    data = {"models": models, "limits": {"characters": limits.characters}}
    style, script = (read(f"{_FOLDER}/home.{kind}") for kind in ("css", "js"))
    return render(
        f"{_FOLDER}/home.html", title="bert_ko", data=script_json(data), **inline(style, script)
    )


def render_docs(schema: Mapping[str, Any]) -> str:
    """The page for programmers, from an OpenAPI schema."""
    parts = schema["components"]["schemas"]
    operations = [
        _operation(path, method, one, parts)
        for path, methods in schema["paths"].items()
        for method, one in methods.items()
    ]
    info = schema["info"]
    return render(
        f"{_FOLDER}/docs.html",
        title=f"bert_ko {info['version']}: the API",
        style=inline(read(f"{_FOLDER}/docs.css"), "")["style"],
        script_hash=None,  # it has none
        operations=operations,
        description=info["description"],
    )


def _operation(
    path: str, method: str, one: Mapping[str, Any], parts: Mapping[str, Any]
) -> Operation:
    given = {"Answer": one["responses"]["200"], "Request": one.get("requestBody")}
    schemas = [
        (title, list(_fields(_schema_of(content), parts)))
        for title, content in reversed(given.items())
        if content is not None
    ]
    refusals = [
        (status, answer["description"])
        for status, answer in one["responses"].items()
        if status != "200"
    ]
    example = ""
    if "requestBody" in one:
        asked = _resolve(_schema_of(one["requestBody"]), parts)["examples"][0]
        example = json.dumps(asked, ensure_ascii=False)
    name, summary = one["operationId"], one["summary"]
    return Operation(name, method.upper(), path, summary, example, schemas, refusals)


def _schema_of(content: Mapping[str, Any]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = content["content"]["application/json"]["schema"]
    return schema


def _fields(
    schema: Mapping[str, Any], parts: Mapping[str, Any], prefix: str = ""
) -> Iterator[Field]:
    """The fields of an object, then those of the objects in it."""
    for name, one in _resolve(schema, parts).get("properties", {}).items():
        path = f"{prefix}{name}"
        yield Field(path, _kind(one, parts), one.get("description", ""))
        inner = one.get("items", one)
        suffix = "[]." if "items" in one else "."
        for choice in inner.get("anyOf", [inner]):
            yield from _fields(choice, parts, f"{path}{suffix}")


def _resolve(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return parts[name] if name else schema


def _kind(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """The type of a value in words: "list of string, 1 to 64"."""
    if choices := schema.get("anyOf", schema.get("oneOf")):
        return " or ".join(_kind(choice, parts) for choice in choices)
    if "items" in schema:
        least, most = schema.get("minItems"), schema.get("maxItems")
        size = f", {least} to {most}" if least != most else f" of length {most}" if most else ""
        return f"list of {_kind(schema['items'], parts)}{size}"
    kind = str(_resolve(schema, parts).get("type", "value"))
    least, most = schema.get("minimum"), schema.get("maximum")
    default = f", by default {schema['default']}" if "default" in schema else ""
    return f"{kind}{f', {least:g} to {most:g}' if most is not None else ''}{default}"
