"""What `rotoscope mcp` offers: each tool is one call of the Model API."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from mcp import MCPError
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rotoscope import __version__
from rotoscope.client import ApiError, Client
from rotoscope.errors import RotoscopeError
from rotoscope.schema.catalogue import MODELS
from rotoscope.schema.input import MODEL_ID

PATIENCE_S = 20.0
"""How long a question is repeated while the server does not answer."""
INSTRUCTIONS = (
    "Rotoscope restyles videos with LTX-2. Ask plan what a request would make and cost, submit it, "
    "ask status until it is completed or cancelled, then result for the video's URL."
)

Arguments = Mapping[str, Any]
Connect = Callable[[], Client]


class ToolInputError(RotoscopeError):
    """The arguments of a tool do not fit; the text names them."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Request(_Strict):
    request_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,128}$", description="As submit answered it.")


class _Cancel(_Request):
    running: bool = Field(default=False, description="Stop it even if it runs already.")


class _Search(_Strict):
    search: str = Field("", description="Only models with this in their name or id.")


@dataclass(frozen=True, slots=True)
class Files:
    """The folders whose files may be sent; a path elsewhere is refused."""

    folders: tuple[Path, ...] = ()

    def uploaded(self, client: Client, body: Arguments) -> dict[str, Any]:
        """The body with each local file replaced by the URI of its upload.

        Raises:
            ToolInputError: A path is no file inside one of the folders.
        """
        sent = dict(body)
        for field in ("video_url", "image_url"):
            value = sent.get(field)
            if _is_path(value):
                sent[field] = self._upload(client, field, value)
        if isinstance(sent.get("loras"), list):
            sent["loras"] = [self._lora(client, lora) for lora in sent["loras"]]
        return sent

    def _lora(self, client: Client, lora: Any) -> Any:
        path = lora.get("path") if isinstance(lora, dict) else None
        # Any other path may be one on the server, which knows its own folders.
        if not isinstance(path, str) or self._inside(path) is None:
            return lora
        return lora | {"path": self._upload(client, "loras", path)}

    def _upload(self, client: Client, field: str, path: str) -> str:
        file = self._inside(path)
        if file is None:
            allowed = ", ".join(map(str, self.folders)) or "none: start rotoscope mcp with --files"
            raise ToolInputError(
                f"{field}: {path} is no file in the folders that may be read ({allowed})."
            )
        return client.upload(file).url

    def _inside(self, path: str) -> Path | None:
        file = Path(path).expanduser().resolve()
        allowed = any(file.is_relative_to(folder.resolve()) for folder in self.folders)
        return file if allowed and file.is_file() else None


def _is_path(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and "://" not in value and not value.startswith("data:")


def _submit(client: Client, arguments: Arguments, files: Files) -> dict[str, Any]:
    return _plain(client.submit(files.uploaded(client, arguments)))


def _plan(client: Client, arguments: Arguments, files: Files) -> dict[str, Any]:
    return _plain(client.plan(files.uploaded(client, arguments)))


def _status(client: Client, arguments: Arguments, _: Files) -> dict[str, Any]:
    return _plain(client.status(_Request(**arguments).request_id))


def _result(client: Client, arguments: Arguments, _: Files) -> dict[str, Any]:
    return _plain(client.result(_Request(**arguments).request_id))


def _cancel(client: Client, arguments: Arguments, _: Files) -> dict[str, Any]:
    asked = _Cancel(**arguments)
    return _plain(client.cancel(asked.request_id, running=asked.running))


def _models(client: Client, arguments: Arguments, _: Files) -> dict[str, Any]:
    return {"models": client.models(search=_Search(**arguments).search)}


def _plain(answer: BaseModel) -> dict[str, Any]:
    return answer.model_dump(mode="json", exclude_unset=True)


Call = Callable[[Client, Arguments, Files], dict[str, Any]]
_INPUT = MODELS[MODEL_ID].input_schema or {}
_ONE = _Request.model_json_schema()
_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_WRITES = ToolAnnotations(read_only_hint=False, open_world_hint=True)
_OFFERED: tuple[tuple[Call, str, dict[str, Any], ToolAnnotations], ...] = (
    (_submit, "Queue a video to be restyled; answers the request_id.", _INPUT, _WRITES),
    (_plan, "Say what a request would make and cost, without making it.", _INPUT, _READS),
    (_status, "Where a request is: queue position, progress.", _ONE, _READS),
    (_result, "What a request made: the video's URL, or why not.", _ONE, _READS),
    (_cancel, "Withdraw a request.", _Cancel.model_json_schema(), _WRITES),
    (_models, "The models that can be asked for.", _Search.model_json_schema(), _READS),
)
TOOLS = {
    call.__name__.lstrip("_"): (
        call,
        Tool(
            name=call.__name__.lstrip("_"),
            description=description,
            input_schema=schema,
            annotations=hints,
        ),
    )
    for call, description, schema, hints in _OFFERED
}


def make_server(connect: Connect, files: Files) -> Server[Any]:
    """A server of the Model Context Protocol; each call of a tool has a client of its own."""

    async def list_tools(
        _: ServerRequestContext[Any], __: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=[tool for _, tool in TOOLS.values()])

    async def call_tool(
        _: ServerRequestContext[Any], asked: CallToolRequestParams
    ) -> CallToolResult:
        if asked.name not in TOOLS:
            raise MCPError(INVALID_PARAMS, f"There is no tool {asked.name}.")
        call, _tool = TOOLS[asked.name]
        return await asyncio.to_thread(_answer, call, connect, asked.arguments or {}, files)

    return Server(
        "rotoscope",
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def serve_stdio(connect: Connect, files: Files) -> None:
    """Serve until standard input ends."""
    server = make_server(connect, files)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def _answer(call: Call, connect: Connect, arguments: Arguments, files: Files) -> CallToolResult:
    """The answer as JSON, or the sentences that say what was wrong."""
    try:
        with connect() as client:
            told = call(client, arguments, files)
    except (RotoscopeError, ValidationError) as error:
        return CallToolResult(content=[TextContent(text=_sentences(error))], is_error=True)
    text = TextContent(text=json.dumps(told, indent=2))
    return CallToolResult(content=[text], structured_content=told)


def _sentences(error: Exception) -> str:
    if isinstance(error, ApiError) and error.detail:
        return "\n".join(f"{_field(entry.loc)}: {entry.msg}" for entry in error.detail)
    if isinstance(error, ValidationError):
        return "\n".join(f"{_field(entry['loc'])}: {entry['msg']}" for entry in error.errors())
    return str(error)


def _field(loc: Sequence[int | str]) -> str:
    """The name of a field, without the body that it is in."""
    return ".".join(str(part) for part in loc if part != "body")
