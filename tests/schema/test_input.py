"""The input model against the published facts, and against its own published schema.

tests/data/published_input.json holds the facts of the hosted API's schema: names, order, types,
defaults, bounds and choices, as published, mistakes included.
"""

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # no types there

from rotoscope.errors import InvalidInputError, NotJsonError
from rotoscope.schema.catalogue import published
from rotoscope.schema.input import MEDIA_URI, Size, VideoToVideoInput, parse_input

FACTS = Path(__file__).parents[1] / "data" / "published_input.json"
BASE = {"prompt": "a red bicycle", "video_url": "https://example.org/a.mp4", "loras": []}
ABSENT = object()

NUMBER = "float is no type of JSON Schema"
REQUIRED = "a required field has no default; the published one is an example"
URI = "says which texts are taken"
LIMIT = "a bound where the published schema has none"
OBJECT = "items must be a schema; the published one is a bare table of properties"

# Every intended difference: where, what is published, what is right, why.
CORRECTIONS: list[tuple[str, object, object, str]] = [
    ("additionalProperties", ABSENT, False, "a misspelt field is refused"),
    ("properties.prompt.default", "*", ABSENT, REQUIRED),
    ("properties.prompt.minLength", ABSENT, 1, LIMIT),
    ("properties.prompt.maxLength", ABSENT, 10_000, LIMIT),
    ("properties.video_url.default", "*", ABSENT, REQUIRED),
    ("properties.video_url.format", ABSENT, "uri", URI),
    ("properties.video_url.pattern", ABSENT, MEDIA_URI, URI),
    (
        "properties.image_url",
        {"type": "string"},
        {
            "anyOf": [{"type": "string", "format": "uri", "pattern": MEDIA_URI}, {"type": "null"}],
            "default": None,
        },
        "optional: null says as much as leaving it out",
    ),
    ("properties.loras.default", "*", ABSENT, REQUIRED),
    ("properties.loras.minItems", 0, ABSENT, "says nothing"),
    (
        "properties.loras.items",
        "*",
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["path"],
            "properties": {
                "path": {"type": "string", "minLength": 1, "maxLength": 2048},
                "scale": {"type": "number", "minimum": 0, "maximum": 4, "default": 1},
                "weight_name": {
                    "anyOf": [
                        {"type": "string", "minLength": 1, "maxLength": 255},
                        {"type": "null"},
                    ],
                    "default": None,
                },
            },
        },
        OBJECT,
    ),
    (
        "properties.video_size",
        "*",
        {
            "default": "auto",
            "oneOf": [
                {
                    "type": "string",
                    "enum": [
                        "auto",
                        "square_hd",
                        "square",
                        "portrait_4_3",
                        "portrait_16_9",
                        "landscape_4_3",
                        "landscape_16_9",
                    ],
                },
                {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["width", "height"],
                    "properties": {
                        "width": {"type": "integer", "minimum": 64, "maximum": 4096},
                        "height": {"type": "integer", "minimum": 64, "maximum": 4096},
                    },
                },
            ],
        },
        "a free size is taken beside the names",
    ),
    ("properties.fps.type", "float", "number", NUMBER),
    ("properties.guidance_scale.type", "float", "number", NUMBER),
    ("properties.camera_lora_scale.type", "float", "number", NUMBER),
    ("properties.ic_lora_scale.type", "float", "number", NUMBER),
    ("properties.video_strength.type", "float", "number", NUMBER),
    ("properties.negative_prompt.maxLength", ABSENT, 10_000, LIMIT),
    ("properties.seed.minimum", ABSENT, -(2**63), LIMIT),
    ("properties.seed.maximum", ABSENT, 2**63 - 1, LIMIT),
]


@cache
def facts() -> dict[str, Any]:
    published_facts: dict[str, Any] = json.loads(FACTS.read_text())
    return dict(published_facts["input"])


@cache
def ours() -> dict[str, Any]:
    return published(VideoToVideoInput, "Input")


def bare(node: Any) -> Any:
    """A schema without its words."""
    if isinstance(node, dict):
        return {
            name: bare(value)
            for name, value in node.items()
            if name not in {"$schema", "title", "description", "examples"}
        }
    return [bare(value) for value in node] if isinstance(node, list) else node


def correct(schema: dict[str, Any], where: str, before: object, after: object) -> None:
    *folders, name = where.split(".")
    node = schema
    for folder in folders:
        node = node[folder]
    if before != "*":
        assert node.get(name, ABSENT) == before, where
    node.pop(name, None)
    if after is not ABSENT:
        node[name] = after


def body(**fields: object) -> bytes:
    return json.dumps(BASE | fields).encode()


def problems(**fields: object) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInputError) as caught:
        parse_input(body(**fields))
    return [(".".join(map(str, entry["loc"][1:])), entry["msg"]) for entry in caught.value.detail]


def test_the_schema_is_the_published_one_corrected() -> None:
    """Field by field, the schema says what is published, but for the table above."""
    expected = deepcopy(facts())
    for where, before, after, _ in CORRECTIONS:
        correct(expected, where, before, after)

    assert bare(ours()) == expected


def test_the_fields_stand_in_the_published_order() -> None:
    """A form made from the schema shows its fields as the hosted API's does."""
    assert list(ours()["properties"]) == list(facts()["properties"])
    assert ours()["required"] == facts()["required"]


def test_each_correction_corrects_something() -> None:
    """The table holds no row that makes no difference."""
    for where, before, after, why in CORRECTIONS:
        assert before != after, where
        assert why


def test_the_published_schema_is_valid_json_schema() -> None:
    """It is draft 2020-12 and refers to nothing outside itself."""
    Draft202012Validator.check_schema(ours())
    assert ours()["$schema"].endswith("2020-12/schema")
    assert "$ref" not in json.dumps(ours())


def test_each_field_is_described_in_words() -> None:
    """Whoever reads the schema alone is told what every field does."""
    assert all(field["description"] for field in ours()["properties"].values())


def test_left_out_fields_take_the_published_defaults() -> None:
    """A minimal body means what the hosted API takes it to mean."""
    made = parse_input(body()).model_dump(mode="json")
    for name, field in facts()["properties"].items():
        if name not in facts()["required"] and "default" in field:
            assert made[name] == field["default"], name


EDGES = [
    (name, edge + step)
    for name, field in ours()["properties"].items()
    for edge, step in ((field.get("minimum"), -1), (field.get("maximum"), 1))
    if edge is not None
]


@pytest.mark.parametrize(("name", "value"), EDGES)
def test_a_number_past_its_bound_is_one_clear_error(name: str, value: float) -> None:
    """Every bounded field refuses the first value outside, by its name, and sends it back."""
    with pytest.raises(InvalidInputError) as caught:
        parse_input(body(**{name: value}))
    [entry] = caught.value.detail
    assert entry["loc"] == ["body", name]
    assert entry["input"] == value


def test_every_wrong_field_is_in_one_answer() -> None:
    """Three mistakes are told at once, each by its own place."""
    found = problems(prompt="", fps=0, loras=[{"path": "x", "scale": 5}, {"scale": 1}])
    assert [place for place, _ in found] == ["prompt", "loras.0.scale", "loras.1.path", "fps"]


@pytest.mark.parametrize(
    ("fields", "place", "sentence"),
    [
        ({"promt": "x"}, "promt", "There is no such field; did you mean prompt?"),
        ({"zzzz": 1}, "zzzz", "There is no such field."),
        (
            {"loras": [{"path": "x", "sacle": 1}]},
            "loras.0.sacle",
            "There is no such field; did you mean scale?",
        ),
        (
            {"video_size": {"width": 64, "height": 64, "hight": 64}},
            "video_size.hight",
            "There is no such field; did you mean height?",
        ),
    ],
)
def test_an_unknown_field_is_refused_with_a_near_match(
    fields: dict[str, object], place: str, sentence: str
) -> None:
    """A misspelt name is told from its nearest neighbour in the right object."""
    assert problems(**fields) == [(place, sentence)]


@pytest.mark.parametrize(
    ("size", "places"),
    [
        ("huge", ["video_size"]),
        (5, ["video_size"]),
        (None, ["video_size"]),
        ([64, 64], ["video_size"]),
        ({"width": 63, "height": 5000}, ["video_size.width", "video_size.height"]),
        ({"width": 64}, ["video_size.height"]),
    ],
)
def test_a_wrong_size_is_told_once(size: object, places: list[str]) -> None:
    """A size is a name or an object; an error is about the one that was sent."""
    assert [place for place, _ in problems(video_size=size)] == places


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "a.mp4",
        "ftp://example.org/a",
        "https://",
        "https://a b",
        "https://a\\b",
        "https://ä.org",
    ],
)
def test_a_bad_uri_gets_a_sentence(uri: str) -> None:
    """The error says which forms are taken, not which pattern failed."""
    [(place, sentence)] = problems(video_url=uri)
    assert place == "video_url"
    assert sentence.startswith("Must be an https:// URL")


@pytest.mark.parametrize(
    "uri",
    [
        "https://example.org/a.mp4?sig=%20x&b=[1]",
        "http://10.0.0.1/a",
        "data:video/mp4;base64," + "A" * 5000,
        "rotoscope://uploads/0123",
    ],
)
def test_the_forms_of_a_uri_are_taken(uri: str) -> None:
    """A URL, a data URI of any length and an upload's URI all fit the schema."""
    assert parse_input(body(video_url=uri)).video_url == uri


def test_a_whole_number_may_be_written_with_a_point() -> None:
    """121.0 is an integer in JSON Schema; 121.5 and true are not."""
    made = parse_input(body(num_frames=121.0, video_size={"width": 640.0, "height": 360}))
    assert (made.num_frames, made.video_size) == (121, Size(width=640, height=360))
    assert [place for place, _ in problems(num_frames=121.5)] == ["num_frames"]
    assert [place for place, _ in problems(num_frames=True)] == ["num_frames"]


def test_long_inputs_are_not_sent_back() -> None:
    """An error about a long value names the field without repeating the value."""
    with pytest.raises(InvalidInputError) as caught:
        parse_input(body(image_url="data:\n" + "A" * 5000))
    [entry] = caught.value.detail
    assert "input" not in entry


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff", b'"\\ud800"', b"[" * 5000, b"prompt=a", b"{} {}"]
)
def test_what_is_not_json_is_told_so(text: bytes) -> None:
    """Text that cannot be read at all is another error than a body that does not fit."""
    with pytest.raises(NotJsonError, match="The body is not JSON: "):
        parse_input(text)


@pytest.mark.parametrize("text", [b"[]", b"null", b"3", b'"a"'])
def test_json_that_is_no_object_does_not_fit(text: bytes) -> None:
    """The error is about the body as a whole."""
    with pytest.raises(InvalidInputError, match="does not fit the schema: body"):
        parse_input(text)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_numbers_are_finite(number: bytes) -> None:
    """What is no number of JSON is taken for none of the fields."""
    text = body(loras=[{"path": "x", "scale": 1}], fps=2).replace(b": 1}", b": " + number + b"}")
    with pytest.raises((InvalidInputError, NotJsonError)):
        parse_input(text.replace(b'"fps": 2', b'"fps": ' + number))


ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-5, 500),
        st.floats(allow_nan=False, allow_infinity=False),
        st.integers(-5, 500).map(float),
        st.text(max_size=12),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=4,
)
SIDES = st.sampled_from([63, 64, 64.0, 64.5, 4096, 4097, "64", True, None])
SIZES = st.dictionaries(st.sampled_from(["width", "height", "depth"]), SIDES)
LORAS = st.fixed_dictionaries(
    {},
    optional={
        "path": st.sampled_from(["x", "", "a/b", 3, "p" * 2048, "p" * 2049]),
        "scale": st.sampled_from([0, 4, 4.01, -0.1, 1.0, "1", True, None]),
        "weight_name": st.sampled_from([None, "", "a.safetensors", "w" * 256, 1]),
        "extra": st.just(1),
    },
)
CHOICES = {word for field in ours()["properties"].values() for word in field.get("enum", [])}
URIS = ["http://a", "https://a/b", "data:,", "data:", "rotoscope://x", "https://", "é", " "]
WORDS = st.sampled_from([*sorted(CHOICES), "auto", "square", *URIS])
NUMBERS = st.sampled_from(
    [0, 1, 4, 8, 9, 10, 11, 50, 51, 60, 61, 481, 482, 0.0, 1.0, 1.5, -0.0, 40.0, 2**63 - 1, 2**63]
)
VALUES = st.one_of(ANYTHING, WORDS, NUMBERS, SIZES, st.lists(LORAS, max_size=12))
NAMES = st.sampled_from([*ours()["properties"], "loras", "video_size", "unknown"])


@settings(deadline=None, max_examples=700)
@given(changes=st.dictionaries(NAMES, VALUES, max_size=3), left_out=st.sets(NAMES, max_size=1))
def test_the_model_takes_what_the_schema_takes(
    changes: dict[str, object], left_out: set[str]
) -> None:
    """A JSON value is accepted exactly when it fits the published schema."""
    value = {name: part for name, part in (BASE | changes).items() if name not in left_out}
    text = json.dumps(value)
    if '\\n"' in text:
        # Python's $ also matches before a last line break; that of JSON Schema does not.
        return
    try:
        parse_input(text.encode())
        taken = True
    except InvalidInputError:
        taken = False

    assert taken is Draft202012Validator(ours()).is_valid(value)
