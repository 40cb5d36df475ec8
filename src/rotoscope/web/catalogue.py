"""GET /v1/models: what can be run here, with the schemas of its input and output."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from rotoscope.errors import (
    ForbiddenError,
    InvalidInputError,
    UnauthorizedError,
    UnknownModelError,
)
from rotoscope.schema.catalogue import MODELS, Catalogue, Categories, Entry
from rotoscope.web.answers import as_json
from rotoscope.web.auth import client_owner, scheme
from rotoscope.web.errors import describe

SCHEMAS = {"input_schema", "output_schema"}

router = APIRouter(
    prefix="/v1/models",
    tags=["catalogue"],
    dependencies=[Depends(client_owner), Depends(scheme)],
    responses=describe(UnauthorizedError, ForbiddenError, InvalidInputError),
)


@router.get("", response_model=Catalogue)
def list_models(  # noqa: PLR0913 - the filters of the contract
    *,
    search: str = "",
    category: str | None = None,
    kind: str | None = None,
    include_schema: bool = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> Response:
    """List the models that fit; `total` counts them all, `limit` and `offset` choose the page."""
    found = list(_matching(search.lower(), category, kind))
    page = found[offset : offset + limit]
    models = [entry if include_schema else _brief(entry) for entry in page]
    return as_json(Catalogue(models=models, total=len(found)))


@router.get("/categories", response_model=Categories)
def list_categories() -> Response:
    """List every category that a model of this server has."""
    names = {name for entry in MODELS.values() for name in entry.categories}
    return as_json(Categories(categories=sorted(names)))


@router.get("/{model_id:path}", response_model=Entry, responses=describe(UnknownModelError))
def get_model(model_id: str) -> Response:
    """One model with its schemas."""
    return as_json(find_model(model_id))


def find_model(model_id: str) -> Entry:
    if model_id not in MODELS:
        raise UnknownModelError(
            f"There is no model {model_id[:200]!r}; this server has {', '.join(MODELS)}."
        )
    return MODELS[model_id]


def _matching(search: str, category: str | None, kind: str | None) -> Iterator[Entry]:
    for entry in MODELS.values():
        text = f"{entry.model_id} {entry.display_name}".lower()
        if search in text and category in (None, *entry.categories) and kind in (None, entry.kind):
            yield entry


def _brief(entry: Entry) -> Entry:
    return Entry.model_construct(**entry.model_dump(exclude=SCHEMAS))
