"""Write docs/reference/ and docs/cli.md from the code, so that they cannot drift.

A test compares what is there with what this would write.
"""

import ast
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rotoscope.cli import app
from rotoscope.cli.exits import MEANINGS
from rotoscope.errors import JOB_ERRORS, RequestError
from rotoscope.media.formats import FORMATS, Format
from rotoscope.schema.input import DEFAULT_NEGATIVE_PROMPT, VideoToVideoInput
from rotoscope.settings import Settings

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.media.corpus import CASES, Case  # noqa: E402 - found by the line above

FOLDER = Path(__file__).parent / "reference"
CLI_FILE = Path(__file__).parent / "cli.md"
MEASURED = Path(__file__).parent / "measured"
MARK = "pytest.mark.parameter"


def pages() -> dict[str, str]:
    """File name to text."""
    return {
        "settings.md": "\n".join(settings_page()) + "\n",
        "input.md": "\n".join(input_page()) + "\n",
        "errors.md": "\n".join(errors_page()) + "\n",
        "parameters.md": "\n".join(parameters_page()) + "\n",
        "inputs.md": "\n".join(inputs_page()) + "\n",
        "encode.md": "\n".join(encode_page()) + "\n",
    }


def settings_page() -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield "From the environment, or by the lower-case name without the prefix in `rotoscope.toml`."
    yield ""
    yield "| variable | default | |"
    yield "|---|---|---|"
    for name, field in Settings.model_fields.items():
        yield f"| `ROTOSCOPE_{name.upper()}` | {default_of(field)} | {field.description} |"


def input_page() -> Iterator[str]:
    yield "# Input of ltx/ltx-2-19b/video-to-video/lora"
    yield ""
    yield "The same as JSON Schema: `GET /v1/models/ltx/ltx-2-19b/video-to-video/lora`."
    yield ""
    yield "| field | allowed | default | |"
    yield "|---|---|---|---|"
    properties = VideoToVideoInput.model_json_schema()["properties"]
    for name, field in VideoToVideoInput.model_fields.items():
        allowed = allowed_by(properties[name])
        yield f"| `{name}` | {allowed} | {default_of(field)} | {field.description} |"


def errors_page() -> Iterator[str]:
    yield "# Errors"
    yield ""
    yield "## Of a request"
    yield ""
    yield "The body is `{error_code, error_message, detail?}`."
    yield ""
    yield "| status | error_code | |"
    yield "|---|---|---|"
    for error in sorted(
        RequestError.__subclasses__(), key=lambda one: (one.status, one.error_code)
    ):
        yield f"| {error.status} | {error.error_code} | {sentence_of(error)} |"
    yield f"| {RequestError.status} | {RequestError.error_code} | Our fault; it is in the log. |"
    yield ""
    yield "## Of a failed job"
    yield ""
    yield "In `error` of status and result, as `{code, message, field?, retryable}`."
    yield ""
    yield "| code | usually retryable | |"
    yield "|---|---|---|"
    for code, leaf in JOB_ERRORS.items():
        retryable = "yes" if leaf.usually_retryable else "no"
        yield f"| `{code}` | {retryable} | {sentence_of(leaf)} |"


def inputs_page() -> Iterator[str]:
    yield "# Source videos: what is read, and how"
    yield ""
    yield "Each of these files is made by `tests/media/corpus.py` and read by a test. Pictures"
    yield "carry their numbers and colours, so the test sees that each is the right one, the right"
    yield "way up, and at most so many steps of 255 from its colours. Any other file of these"
    yield "containers and codecs is read too, or refused by"
    yield "[an error of the job](errors.md#of-a-failed-job). At most 8192 pixels a side and 36"
    yield "million in all are read; the source's sound is not."
    group = ""
    for case in CASES:
        if case.group != group:
            group = case.group
            yield from ("", f"## {group}", "", "| file | |", "|---|---|")
        yield f"| {case.name} | {what_is_read(case)} |"


def what_is_read(case: Case) -> str:
    if case.refused is not None:
        return f"`{case.refused.code}`"
    width, height = case.size
    count = len(case.shown)
    frames = "1 frame" if count == 1 else f"{count} frames"
    rate = (
        f"at {case.read_at} a second, {case.fps} on average"
        if case.read_at
        else f"{case.fps} a second"
    )
    return f"{width}x{height}, {frames}, {rate}, within {case.tolerance}"


@dataclass(frozen=True, slots=True)
class Measured:
    """A test that measures what input fields do, by its mark."""

    fields: tuple[str, ...]
    path: str
    name: str
    sentence: str

    @property
    def place(self) -> str:
        return f"{self.path}::{self.name}"


def parameters_page() -> Iterator[str]:
    yield "# What each parameter does, and how that is known"
    yield ""
    yield "Each has tests of its effect: two values or more, and a difference that is measured in"
    yield "the result or in the plan. They are marked `@pytest.mark.parameter(NAME)`; most send"
    yield "requests to a server with the small checkpoint, and can measure any other server:"
    yield "`pytest tests/effects --server URL --api-key KEY`."
    yield ""
    yield "| parameter | what it does | measured by |"
    yield "|---|---|---|"
    tests = sorted(measured(), key=lambda test: test.place)
    for name, field in VideoToVideoInput.model_fields.items():
        about = [as_words(test) for test in tests if name in test.fields]
        yield f"| `{name}` | {field.description} | {'<br>'.join(about) or 'nothing yet'} |"


def measured() -> Iterator[Measured]:
    """Every marked test, read from the files without running them."""
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and (fields := marked(node)):
                sentence = (ast.get_docstring(node) or "").split("\n\n")[0]
                yield Measured(
                    fields,
                    path=file.relative_to(ROOT).as_posix(),
                    name=node.name,
                    sentence=" ".join(sentence.split()),
                )


def marked(test: ast.FunctionDef) -> tuple[str, ...]:
    """The fields that a test's mark names."""
    return tuple(
        argument.value
        for mark in test.decorator_list
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == MARK
        for argument in mark.args
        if isinstance(argument, ast.Constant)
    )


def as_words(test: Measured) -> str:
    words = test.name.removeprefix("test_").replace("_", " ")
    return f"{words[0].upper()}{words[1:]}. {test.sentence} `{test.place}`"


def encode_page() -> Iterator[str]:
    measured = json.loads((MEASURED / "encode.json").read_text())
    yield "# Output files"
    yield ""
    yield "Colours are BT.709 in limited range and tagged so. Sound begins with the first frame and"
    yield "ends with the last. Files begin to play before all of them has arrived: what tells where"
    yield "each frame is stands in front."
    yield ""
    yield "| `video_output_type` | content type | picture | sound |"
    yield "|---|---|---|---|"
    for name, form in FORMATS.items():
        picture = f"{form.codec}, {form.pix_fmt}"
        yield f"| `{name}` | {form.content_type} | {picture} | {sound_of(form)} |"
    yield ""
    yield "The alpha channel of ProRes is opaque. A GIF has one palette, made from its own frames,"
    yield "keeps every frame up to 50 a second, and takes as long as the clip to a hundredth of a"
    yield "second; it loops for ever."
    yield ""
    yield "## What a level gives"
    yield ""
    yield "| `video_output_type` | `video_quality` | | MB | PSNR, dB | SSIM | VIF | CPU, s |"
    yield "|---|---|---|--:|--:|--:|--:|--:|"
    for row in measured["rows"]:
        settings = ", ".join(f"{name} {value}" for name, value in row["settings"].items())
        likeness = f"{row['psnr_db']:.1f} | {row['ssim']:.4f} | {row['vif']:.3f}"
        figures = f"{row['megabytes']:.2f} | {likeness} | {row['cpu_s']:.1f}"
        yield f"| `{row['output_type']}` | {row['quality']} | {settings} | {figures} |"
    yield ""
    yield "Likeness is that of every fourth frame, as it is shown, to the frame that was encoded:"
    yield "PSNR over red, green and blue, SSIM and VIF (visual information fidelity) over luma; 1"
    yield "is the same. Other clips give other figures, in the same order."
    yield ""
    yield f"Made by `python -m bench.encode --save`: {measured['scene']}."


def sound_of(form: Format) -> str:
    if form.sound is None:
        return "none"
    rate = f"{form.sound.rate:,} Hz" if form.sound.rate else "the model's rate"
    bits = f", {form.sound.bits_a_second // 1000} kbit/s" if form.sound.bits_a_second else ""
    return f"{form.sound.codec}, {rate}{bits}"


def cli_page() -> Iterator[str]:
    program: Any = typer.main.get_command(app)
    yield "# Command line"
    yield ""
    yield "What `rotoscope COMMAND --help` says, in one page. Results go to standard output and"
    yield "everything else to standard error; with `--json`, the result is one JSON value. Where a"
    yield "variable stands beside an option, it is read where the option is not given."
    yield ""
    yield "`rotoscope --install-completion` lets bash, zsh, fish and PowerShell complete commands"
    yield "and options; `--show-completion` prints the same instead of installing it."
    yield ""
    yield "## Exit codes"
    yield ""
    yield "| code | |"
    yield "|--:|---|"
    for code, meaning in MEANINGS.items():
        yield f"| {code.value} | {meaning} |"
    for name, command in program.commands.items():
        yield from described(f"rotoscope {name}", command)
    yield ""
    yield "## Input options"
    yield ""
    yield "Of `rotoscope run` and `rotoscope submit`: each is a field of the"
    yield "[input](reference/input.md), which tells what is allowed and what is taken without it."
    yield ""
    yield from table_of(of_input(program.commands["run"].params))


def described(name: str, command: Any) -> Iterator[str]:
    """A command, or each command of a group."""
    inner = getattr(command, "commands", {})
    yield from ("", f"{'#' * len(name.split())} `{name}`", "", command.help)
    for part, one in inner.items():
        yield from described(f"{name} {part}", one)
    own = [one for one in command.params if one.name != "help" and not one.hidden]
    shared = of_input(own)
    if shown := [one for one in own if one not in shared]:
        yield ""
        yield from table_of(shown)
    if shared:
        yield from ("", "And the [input options](#input-options).")


def of_input(params: list[Any]) -> list[Any]:
    return [one for one in params if one.rich_help_panel == "Input"]


def table_of(params: list[Any]) -> Iterator[str]:
    yield "| | | default | |"
    yield "|---|---|---|---|"
    for one in params:
        names = "`, `".join([*one.opts, *one.secondary_opts])
        if not one.opts[0].startswith("-"):
            names = one.metavar or one.name.upper()
        cells = (f"`{names}`", value_of(one), default_value(one), about(one))
        yield f"| {' | '.join(cells)} |"


def value_of(param: Any) -> str:
    """What follows an option's name: words of a list, a form, or a kind."""
    if getattr(param, "is_flag", False) or not param.opts[0].startswith("-"):
        return ""
    kind = param.type_descriptor.annotation
    if get_origin(kind) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(kind))
    names = {int: "whole number", float: "number", Path: "file or folder"}
    return f"`{param.metavar}`" if param.metavar else names.get(kind, "text")


def default_value(param: Any) -> str:
    if param.required:
        return "required"
    shown = param.show_default and param.default not in (None, False)
    return f"`{param.default}`" if shown else ""


def about(param: Any) -> str:
    variable = f" Variable `{param.envvar}`." if param.envvar else ""
    text = (param.help or "").replace(r"\[", "[").replace("|", r"\|")
    return f"{text}{variable}"


def status_and_code(error: type[RequestError]) -> tuple[int, int]:
    return error.status, error.error_code


def sentence_of(error: type[Exception]) -> str:
    return (error.__doc__ or "").strip().splitlines()[0]


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is PydanticUndefined:
        return "the user's data folder"
    if field.default == DEFAULT_NEGATIVE_PROMPT:
        return "a long list of flaws"
    if field.default is None or field.default == ():
        return ""
    return f"`{field.default}`"


def allowed_by(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kinds = [allowed_by(one) for one in schema.get("anyOf", schema.get("oneOf", []))]
    if kinds:
        return " or ".join(kind for kind in kinds if kind != "null")
    if "$ref" in schema:
        return schema["$ref"].rsplit("/", 1)[-1].lower()
    low = schema.get("minimum", schema.get("minLength", schema.get("minItems")))
    high = schema.get("maximum", schema.get("maxLength", schema.get("maxItems")))
    bounds = f" {low if low is not None else ''}..{high if high is not None else ''}"
    return f"{schema['type']}{bounds if bounds != ' ..' else ''}"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
    CLI_FILE.write_text("\n".join(cli_page()) + "\n")
