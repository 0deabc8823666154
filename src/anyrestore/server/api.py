"""The routes: pictures in and out, the models there are, and what those ask who run the service.

`create_app` gives a FastAPI application whose document (/openapi.json) says everything that it answers. It
offers no page for that document: FastAPI's would be fetched from other people's servers.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import quote

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Receive

from anyrestore.errors import AnyRestoreError, ModelError, RequestError, ServiceError, UsageError
from anyrestore.image import Format
from anyrestore.server.guards import Guards
from anyrestore.server.measures import Measures
from anyrestore.server.orders import MAX_INSTRUCTION, Answer, Engine, Offer, Order
from anyrestore.server.problems import STATUSES, ClientGoneError, problem_of
from anyrestore.server.settings import Settings
from anyrestore.server.upload import IMAGE_FIELD, TEXT_FIELDS, Intake, Upload

T = TypeVar("T")

FORMATS: tuple[Format, ...] = get_args(Format)

log = logging.getLogger("anyrestore.server")


class Problem(BaseModel):
    """Every answer that is an error."""

    code: str
    message: str
    request_id: str


class Model(BaseModel):
    """A model that may be chosen."""

    name: str
    parameters: int
    takes_instruction: bool
    can_look: bool
    title: str


class Models(BaseModel):
    """The models, and which one is taken where none is named."""

    default: str
    models: list[Model]


class Alive(BaseModel):
    """The process answers."""

    alive: Literal[True] = True


class Ready(BaseModel):
    """Every worker can work."""

    ready: Literal[True] = True


def create_app(settings: Settings, engine: Engine) -> FastAPI:
    """The application behind its guards; the engine is started and stopped by whoever runs it.

    Args:
        settings: limits, names, token.
        engine: what has orders done.
    """
    app = FastAPI(
        title="anyrestore",
        version="1",
        summary="Restores degraded photographs.",
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    service = _Service(settings, engine)
    app.state.intake = service.intake
    everywhere = _problems(400, 401, 403, 408, 413, 415, 422, 429, 500, 503)
    asked = _problems(400, 401, 403, 413, 500)

    def add(path: str, answer: Callable[..., Any], model: type[BaseModel] | None, **more: Any) -> None:
        app.add_api_route(path, answer, response_model=model, **more)

    app.add_api_route(
        "/v1/restore",
        service.restore,
        methods=["POST"],
        summary="Restore a picture",
        response_class=Response,
        responses={200: _RESTORED, **everywhere, **_problems(504)},
        openapi_extra={"requestBody": _BODY},
    )
    add("/v1/models", service.models, Models, summary="The models", responses={**asked, **_problems(503)})
    add("/livez", service.livez, Alive, summary="Does the process answer?", responses=asked)
    add(
        "/readyz",
        service.readyz,
        Ready,
        summary="Can every worker work?",
        responses={**asked, **_problems(503)},
    )
    app.add_api_route(
        "/metrics",
        service.metrics,
        summary="Counts and times, for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **asked},
    )
    app.add_exception_handler(HTTPException, service.plain)
    app.add_exception_handler(RequestValidationError, service.invalid)
    app.add_middleware(Guards, settings=settings, measures=service.measures)
    document = app.openapi

    def openapi() -> dict[str, Any]:
        found = document()
        _name_models(found, engine.offers)
        if settings.token is not None:
            found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            found["security"] = [{"token": []}]
        return found

    app.openapi = openapi  # FastAPI's own way to extend the document
    return app


class _Service:
    """The routes' functions, and what they share."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self.intake = Intake(settings, engine.check_room)
        self.measures = Measures(
            ready=lambda: engine.ready,
            load=lambda: engine.load,
            bytes_in_flight=lambda: self.intake.budget.held,
        )

    async def restore(
        self,
        request: Request,
        model: Annotated[
            str | None, Query(max_length=200, description="a name from /v1/models", examples=["cea-t"])
        ] = None,
        instruction: Annotated[
            str | None,
            Query(
                max_length=MAX_INSTRUCTION,
                description="what to do, in words, for a model that takes instructions",
                examples=["it is too dark and there is rain on it"],
            ),
        ] = None,
        format: Annotated[  # noqa: A002 (it is the parameter's name in the address)
            Format | None, Query(description="of the result; by default the picture's own", examples=["png"])
        ] = None,
    ) -> Response:
        """Send a picture, as the body or in a form's field `image`; its restored version comes back.

        The format and the depth are the picture's own. Metadata does not come back, colour profiles do.
        """
        known = {"model": model, "instruction": instruction, "format": format}
        asked = {name: value for name, value in known.items() if value is not None}
        _check_query(request)
        self._check_model(model)
        with self.intake.parcel() as parcel:
            upload = await parcel.read(request.headers, request.receive)
            self.intake.arrived(parcel)
            order = self._order(upload, asked)
            answer = await _unless_gone(self._engine.do(order), request.receive)
        self.measures.restored(answer.model, answer.width * answer.height, answer.seconds)
        return Response(answer.data, media_type=f"image/{answer.format}", headers=_headers(answer))

    async def models(self) -> Models:
        """The models that may be named, the default first."""
        offers = self._engine.offers
        if not offers:
            raise _NOT_READY
        listed = [
            Model(
                name=offer.name,
                parameters=offer.parameters,
                takes_instruction=offer.takes_instruction,
                can_look=offer.can_look,
                title=offer.title,
            )
            for offer in offers
        ]
        return Models(default=offers[0].name, models=listed)

    async def livez(self) -> Alive:
        """For who restarts processes that do not answer."""
        return Alive()

    async def readyz(self) -> Ready:
        """For who sends requests only where they can be done: 503 while models load, and at the end."""
        if not self._engine.ready:
            raise _NOT_READY
        return Ready()

    async def metrics(self) -> Response:
        """In Prometheus's text format."""
        return Response(self.measures.text(), headers={"content-type": Measures.CONTENT_TYPE})

    async def plain(self, request: Request, error: Exception) -> Response:
        """An error of Starlette's, as every other."""
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            known = RequestError("there is nothing here; see /openapi.json", code="no_route")
        else:
            known = RequestError("the request could not be understood")
        answer = self._tell(known, request)
        answer.headers.update(error.headers or {})  # Allow, for one
        return answer

    async def invalid(self, request: Request, error: Exception) -> Response:
        """What FastAPI found wrong with parameters; what was sent is not repeated."""
        assert isinstance(error, RequestValidationError)
        first: dict[str, Any] = error.errors()[0]
        where = next((name for name in TEXT_FIELDS if name in first["loc"]), "the request")
        return self._tell(UsageError(f"{where}: {first['msg']}"), request)

    def _tell(self, error: AnyRestoreError, request: Request) -> Response:
        problem = problem_of(error, request.scope["state"]["request_id"])
        self.measures.failed(problem.code)
        headers = {name.decode(): value.decode() for name, value in problem.headers}
        return Response(problem.body, status_code=problem.status, headers=headers)

    def _check_model(self, name: str | None) -> None:
        offers = self._engine.offers
        if name is not None and offers and name not in {offer.name for offer in offers}:
            names = ", ".join(offer.name for offer in offers)
            raise ModelError(f"model: expected one of {names}", code="unknown_model")

    def _order(self, upload: Upload, asked: dict[str, str]) -> Order:
        """What is wanted; where address and form both say it, the form counts.

        Raises:
            UsageError: there is no such thing.
            ModelError: `unknown_model`.
        """
        wanted = asked | upload.fields
        self._check_model(wanted.get("model"))
        instruction = wanted.get("instruction")
        if instruction is not None and len(instruction) > MAX_INSTRUCTION:
            raise UsageError(f"instruction: expected at most {MAX_INSTRUCTION} characters")
        return Order(
            data=upload.data,
            model=wanted.get("model"),
            instruction=instruction,
            format=_format(wanted.get("format")),
        )


_NOT_READY = ServiceError("the models are being loaded, or the service is ending", code="not_ready")


def _format(name: str | None) -> Format | None:
    for known in FORMATS:
        if name == known:
            return known
    if name is None:
        return None
    raise UsageError(f"format: expected one of {', '.join(FORMATS)}")


def _check_query(request: Request) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    if len(set(names)) < len(names) or not {*names} <= {*TEXT_FIELDS}:
        raise UsageError(f"the address may have, once each: {', '.join(TEXT_FIELDS)}")


def _headers(answer: Answer) -> dict[str, str]:
    """What goes with a picture; ASCII, whatever a model's file was called."""
    suffix = {"jpeg": "jpg", "tiff": "tif"}.get(answer.format, answer.format)
    found = {
        "Content-Disposition": f'attachment; filename="restored.{suffix}"',
        "Restored-Model": quote(answer.model, safe=" +,:@()"),
        "Restored-Size": f"{answer.width}x{answer.height}",
        "Restored-Bits": str(answer.bit_depth),
        "Server-Timing": f"restore;dur={1000 * answer.seconds:.0f}",
    }
    if answer.warnings:
        found["Restored-Warnings"] = json.dumps(answer.warnings)
    return found


async def _unless_gone(work: Awaitable[T], receive: Receive) -> T:
    """What the work comes to; it is cancelled when the client leaves meanwhile.

    Raises:
        ClientGoneError: the client has left.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


# ---------------------------------------------------------------------------- what the document says


def _name_models(document: dict[str, Any], offers: Sequence[Offer]) -> None:
    """Say which models may be named, and whether one can be told anything, once that is known."""
    asked = document["paths"]["/v1/restore"]["post"]
    form = asked["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    query = next(one["schema"] for one in asked["parameters"] if one["name"] == "model")
    names = [offer.name for offer in offers]
    if names and not any(offer.takes_instruction for offer in offers):
        asked["parameters"] = [one for one in asked["parameters"] if one["name"] != "instruction"]
        del form["instruction"]
    if names:
        form["model"] = {"type": "string", "enum": names}
        query["anyOf"] = [{"type": "string", "enum": names}, {"type": "null"}]


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These statuses, in the document: the codes of each, and one as an example."""
    found = dict[int | str, dict[str, Any]]()
    for status in statuses:
        codes = [code for code, its in STATUSES.items() if its == status]
        example = {"code": codes[0], "message": "One sentence.", "request_id": "5e8c1d0f"}
        found[status] = {
            "model": Problem,
            "description": f"Codes: {', '.join(codes)}",
            "content": {"application/json": {"example": example}},
        }
        if status in (429, 503):
            whole = {"schema": {"type": "integer"}, "description": "seconds"}
            found[status]["headers"] = {"Retry-After": whole}
    return found


_BYTES = {"type": "string", "format": "binary"}
_PICTURE = {**_BYTES, "minLength": 1}
_TEXTS = {
    "model": {"type": "string", "maxLength": 200},
    "instruction": {"type": "string", "maxLength": MAX_INSTRUCTION},
    "format": {"type": "string", "enum": list(FORMATS)},
}
_FORM = {
    "type": "object",
    "required": [IMAGE_FIELD],
    "properties": {IMAGE_FIELD: _PICTURE, **_TEXTS},
    "additionalProperties": False,
}
_BODY = {
    "required": True,
    "description": "The picture (PNG, JPEG, TIFF, WebP, AVIF), or a form with it.",
    "content": {
        **{kind: {"schema": _PICTURE} for kind in ("image/*", "application/octet-stream")},
        "multipart/form-data": {"schema": _FORM},
    },
}
_RESTORED = {
    "description": "The restored picture.",
    "content": {f"image/{name}": {"schema": _BYTES} for name in FORMATS},
    "headers": {
        "Restored-Model": {"schema": {"type": "string"}, "description": "the model that made it"},
        "Restored-Size": {"schema": {"type": "string"}, "description": "WIDTHxHEIGHT in pixels"},
        "Restored-Bits": {"schema": {"type": "string"}, "description": "bits per channel"},
        "Restored-Warnings": {"schema": {"type": "string"}, "description": "a JSON list of sentences"},
        "Server-Timing": {"schema": {"type": "string"}, "description": "milliseconds of the worker"},
    },
}
