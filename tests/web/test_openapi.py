"""The API's description, and the API held to it by generated requests."""

from collections.abc import Iterator
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from rotoscope.schema.catalogue import MODELS
from rotoscope.schema.input import MODEL_ID
from tests.web.conftest import Site

Operation = schemathesis.APIOperation[Any, Any, Any, Any]
Case = schemathesis.Case[Any]

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


# A claim waits for a job, by design; tests/web/test_worker.py has its cases.
LONG_POLL = "/v1/worker/claim"
# A 503 is what it is for.
READINESS = "/readyz"


def operations(site: Site) -> Iterator[Operation]:
    described = schemathesis.openapi.from_asgi("/openapi.json", site.http.app)
    for found in described.exclude(path=[LONG_POLL, READINESS]).get_all_operations():
        assert isinstance(found, Ok)
        yield found.ok()


def hold(operation: Operation, headers: dict[str, str]) -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def check(case: Case) -> None:
        case.validate_response(case.call(headers=headers), checks=CHECKS)

    check()


def test_generated_requests_get_described_answers(site: Site) -> None:
    """Whatever is sent, the answer's status, type and shape are described, and none is a 500."""
    held = []
    for operation in operations(site):
        is_workers = operation.path.startswith("/v1/worker")
        hold(operation, site.worker if is_workers else site.client)
        held.append(f"{operation.method.upper()} {operation.path}")

    assert {"POST /v1/models/{model_id}", "POST /v1/models/{model_id}/plan"} <= set(held)
    assert len(held) >= 14


def without_nulls(node: Any) -> Any:
    """FastAPI leaves a default of null out, which says the same."""
    if isinstance(node, dict):
        return {name: without_nulls(part) for name, part in node.items() if part is not None}
    return [without_nulls(part) for part in node] if isinstance(node, list) else node


def test_the_description_holds_the_published_schema(site: Site) -> None:
    """OpenAPI 3.1, with the model's input schema as the catalogue has it."""
    api_description = site.http.get("/openapi.json").json()
    submit = api_description["paths"]["/v1/models/{model_id}"]["post"]
    body = submit["requestBody"]["content"]["application/json"]["schema"]

    assert api_description["openapi"].startswith("3.1")
    assert body == without_nulls(MODELS[MODEL_ID].input_schema)
    assert {"200", "400", "401", "403", "404", "413", "415", "422", "503"} <= set(
        submit["responses"]
    )
    assert submit["security"] == [{"HTTPBearer": []}]


def test_the_docs_page_needs_no_other_host(site: Site) -> None:
    """Every script and style of the page comes from this server."""
    page = site.http.get("/docs").text
    assert "/docs/static/swagger-ui-bundle.js" in page
    assert "https://" not in page
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert site.http.get(f"/docs/static/{name}").status_code == 200
    assert site.http.get("/docs/static/__init__.py").status_code == 404
