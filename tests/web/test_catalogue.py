"""The catalogue: what there is, narrowed and with schemas."""

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # no types there

from rotoscope.schema.input import MODEL_ID
from tests.web.conftest import Site


def test_a_model_is_told_with_its_schemas(site: Site) -> None:
    """One model's entry holds valid schemas of its input and output."""
    entry = site.get(f"/v1/models/{MODEL_ID}")
    assert entry["model_id"] == MODEL_ID
    for name in ("input_schema", "output_schema"):
        Draft202012Validator.check_schema(entry[name])
    assert set(entry["output_schema"]["properties"]) == {"video", "image", "videos", "images"}


def test_the_list_is_brief_unless_asked(site: Site) -> None:
    """Schemas come only with include_schema, the price always."""
    [brief] = site.get("/v1/models")["models"]
    [full] = site.get("/v1/models?include_schema=true")["models"]

    assert set(brief) == {
        "model_id",
        "display_name",
        "categories",
        "kind",
        "base_price_usd",
        "price_unit",
    }
    assert "input_schema" in full


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("search=LTX", 1),
        ("search=nothing", 0),
        ("category=video-to-video", 1),
        ("category=music", 0),
        ("kind=video", 1),
        ("kind=image", 0),
    ],
)
def test_the_list_is_narrowed(site: Site, query: str, found: int) -> None:
    """Each filter leaves what fits, and the total counts it."""
    answer = site.get(f"/v1/models?{query}")
    assert (len(answer["models"]), answer["total"]) == (found, found)


def test_the_total_counts_past_the_page(site: Site) -> None:
    """A page beyond the end is empty, and the total is that of all pages."""
    assert site.get("/v1/models?offset=5") == {"models": [], "total": 1}


def test_categories_are_those_of_the_models(site: Site) -> None:
    """Whatever is listed can be filtered by."""
    [category] = site.get("/v1/models/categories")["categories"]
    assert site.get(f"/v1/models?category={category}")["total"] == 1


def test_an_unknown_model_is_told(site: Site) -> None:
    """The answer names what there is."""
    answer = site.http.get("/v1/models/a/b", headers=site.client)
    assert (answer.status_code, answer.json()["error_code"]) == (404, 400001)
    assert MODEL_ID in answer.json()["error_message"]
