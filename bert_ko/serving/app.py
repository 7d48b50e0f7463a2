"""The addresses of a server: models, health, the page, and the description of them all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

import bert_ko
from bert_ko.serving.bodies import TAGS, Health, ModelHealth, Problem
from bert_ko.serving.errors import Refusal, problem
from bert_ko.serving.guard import Guard
from bert_ko.serving.limits import Limits
from bert_ko.serving.pages import render_docs, render_home
from bert_ko.serving.worker import Failed, Overloaded, Worker

_RETRY = {"Retry-After": "1"}  # seconds; several batches are computed in them
_REASONS = {
    400: "The body is no JSON, or the request no HTTP.",
    408: "The request did not come in time.",
    413: "The body or its texts are too long.",
    422: "The body is not of this form, or a text can't be computed.",
    500: "The model failed; the server's log says how.",
    503: "Too many requests wait, or the model is being compiled; Retry-After says when to ask.",
    504: "The answer took too long.",
}
_SHOWN = 80  # characters of an address
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def make_app(
    workers: Mapping[str, Worker], limits: Limits, hosts: Collection[str] | None = None
) -> Guard:
    """Joins the addresses of models to an application.

    Args:
        workers: of the models, by name; started elsewhere.
        limits: of all requests.
        hosts: see ``Guard``.
    """
    app = FastAPI(
        title="bert_ko",
        version=bert_ko.__version__,
        description="Trained models of bert_ko. Places in texts are in characters (Unicode code "
        "points).",
        docs_url=None,  # FastAPI's own pages load their scripts from elsewhere
        redoc_url=None,
    )
    for worker in workers.values():
        _add_model(app, worker, limits)
    _add_health(app, workers)
    _add_pages(app, workers, limits)
    _add_refusals(app)
    return Guard(app, limits, hosts)


def _add_model(app: FastAPI, worker: Worker, limits: Limits) -> None:
    served = worker.served

    async def ask(body: Any) -> Response:
        answer = await _ask(worker, body, limits)
        return Response(answer.model_dump_json(), media_type="application/json")

    ask.__annotations__ = {"body": served.request, "return": Response}
    app.add_api_route(
        served.path,
        ask,
        methods=["POST"],
        summary=served.summary,
        tags=[served.name],
        operation_id=f"{served.name}.{served.operation}",
        response_model=served.response,
        responses={
            status: {"model": Problem, "description": reason} for status, reason in _REASONS.items()
        },
    )


async def _ask(worker: Worker, body: Any, limits: Limits) -> Any:
    """The answer of a model.

    Raises:
        Refusal: there is none.
    """
    name, count = worker.served.name, sum(map(len, body.pieces()))
    if count > limits.characters:
        raise Refusal(
            413,
            f"a request may have {limits.characters:,} characters at most, and a context counts "
            f"once for each of its questions: got {count:,}.",
        )
    if not worker.is_ready:
        raise Refusal(503, f"{name} is being compiled; ask again soon.", _RETRY)
    try:
        future = worker.submit(body)
    except Overloaded:
        message = f"{limits.waiting:,} requests to {name} are waiting; ask again later."
        raise Refusal(503, message, _RETRY) from None
    try:
        async with asyncio.timeout(limits.seconds):
            return await asyncio.wrap_future(future)
    except TimeoutError:
        message = f"{name} had no answer within {limits.seconds:g} seconds; ask for less at once."
        raise Refusal(504, message) from None
    except ValueError as error:
        raise Refusal(422, str(error)) from None
    except Failed as error:
        message = f"{name} could not compute this ({error}); the server's log says more."
        raise Refusal(500, message) from None


def _add_health(app: FastAPI, workers: Mapping[str, Worker]) -> None:
    @app.get(
        "/health",
        response_model=Health,
        tags=["server"],
        summary="State of the server.",
        responses={503: {"model": Health, "description": "Models are being compiled."}},
        operation_id="health",
    )
    async def health() -> JSONResponse:
        models = [
            ModelHealth(name=name, kind=one.served.kind, ready=one.is_ready, waiting=one.waiting)
            for name, one in workers.items()
        ]
        is_ready = all(model.ready for model in models)
        found = Health(status="ready" if is_ready else "starting", models=models)
        headers = None if is_ready else _RETRY
        return JSONResponse(found.model_dump(), 200 if is_ready else 503, headers)


def _add_pages(app: FastAPI, workers: Mapping[str, Worker], limits: Limits) -> None:
    home = render_home([worker.served for worker in workers.values()], limits)
    docs = render_docs(app.openapi())

    @app.get("/", include_in_schema=False)
    async def show_home() -> HTMLResponse:
        return HTMLResponse(home, headers=_HEADERS)

    @app.get("/docs", include_in_schema=False)
    async def show_docs() -> HTMLResponse:
        return HTMLResponse(docs, headers=_HEADERS)


def _add_refusals(app: FastAPI) -> None:
    """Says every refusal in our form, also those of FastAPI."""

    async def refused(request: Request, error: Any) -> Response:
        return problem(error.status, error.message, error.headers)

    async def of_http(request: Request, error: Any) -> Response:
        return problem(error.status_code, _http_message(app, request, error), error.headers)

    async def invalid(request: Request, error: Any) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return problem(400, f"the body is no JSON: {first['ctx']['error']}, character "
                           f"{first['loc'][-1]}.")  # fmt: skip
        return problem(422, _invalid_message(request, first))

    async def unexpected(request: Request, error: Any) -> Response:
        return problem(500, "internal error; the server's log says more.")

    handlers: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
        Refusal: refused,
        HTTPException: of_http,
        RequestValidationError: invalid,
        Exception: unexpected,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _http_message(app: FastAPI, request: Request, error: HTTPException) -> str:
    path = request.url.path[:_SHOWN]
    known = {
        address: " ".join(methods).upper() for address, methods in app.openapi()["paths"].items()
    }
    places = ", ".join(f"{methods} {place}" for place, methods in known.items())
    messages = {
        400: "the body is no JSON, or is nested too deeply.",
        404: f"nothing at {path}; there are: {places}, GET /, GET /docs, GET /openapi.json.",
        405: f"{path} takes {known.get(path, 'GET')}, got {request.method}.",
    }
    return messages.get(error.status_code, str(error.detail))


def _invalid_message(request: Request, error: Mapping[str, Any]) -> str:
    """One sentence on the first thing that is wrong with a body."""
    place = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}"
        for part in error["loc"][1:]
        if part not in TAGS
    ).removeprefix(".")
    if not place and not request.headers.get("content-type", "").startswith("application/json"):
        return "send a JSON object, with the header Content-Type: application/json."
    said = error["msg"].removeprefix("Value error, ")
    return f"{place or 'the body'}: {said[:1].lower()}{said[1:]}."
