"""`rotoscope mcp` by the SDK's own client, over stdio, against a server process."""

import json
import time
from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import CallToolResult, TextContent

from rotoscope.schema.catalogue import MODELS
from rotoscope.schema.input import MODEL_ID, UPLOAD_SCHEME
from tests.clients.host import ROTOSCOPE, Host, working

SAMPLE = Path(str(files("rotoscope"))) / "data" / "sample.mp4"
ARGUMENTS = {"prompt": "a red bicycle", "video_url": "https://example.org/a.mp4", "loras": []}

Use = Callable[[Client], Awaitable[Any]]


def with_tools(host: Host, use: Use, *options: str) -> Any:
    """What `use` answers, given a client of a `rotoscope mcp` process."""
    environment = host.environment(ROTOSCOPE_SERVER=host.url, ROTOSCOPE_KEY=host.key)
    command = StdioServerParameters(
        command=ROTOSCOPE[0], args=[*ROTOSCOPE[1:], "mcp", *options], env=environment
    )

    async def main() -> Any:
        async with Client(stdio_client(command)) as client:
            return await use(client)

    return anyio.run(main)


def told(answer: Any) -> dict[str, Any]:
    """The JSON of an answer, which it gives twice."""
    assert isinstance(answer, CallToolResult)
    text = answer.content[0]
    assert isinstance(text, TextContent)
    assert not answer.is_error, text.text
    found: dict[str, Any] = json.loads(text.text)
    assert answer.structured_content == found
    return found


def refused(answer: Any) -> str:
    assert isinstance(answer, CallToolResult)
    assert answer.is_error
    text = answer.content[0]
    assert isinstance(text, TextContent)
    return text.text


def test_the_tools_take_what_the_api_takes(host: Host) -> None:
    async def use(client: Client) -> tuple[dict[str, Any], list[Any]]:
        schemas = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}
        models = [await client.call_tool("models", {"search": word}) for word in ("ltx", "no")]
        with pytest.raises(MCPError, match="no tool dance"):
            await client.call_tool("dance", {})
        return schemas, models

    schemas, models = with_tools(host, use)

    assert set(schemas) == {"submit", "status", "result", "cancel", "plan", "models"}
    assert schemas["submit"] == schemas["plan"] == MODELS[MODEL_ID].input_schema
    assert schemas["status"]["required"] == ["request_id"]
    some, none = map(told, models)
    assert [model["model_id"] for model in some["models"]] == [MODEL_ID]
    assert none["models"] == []


def test_a_job_from_submit_to_result(host: Host) -> None:
    async def use(client: Client) -> dict[str, Any]:
        submitted = told(await client.call_tool("submit", ARGUMENTS))
        which = {"request_id": submitted["request_id"]}
        while told(await client.call_tool("status", which))["status"] != "completed":  # noqa: ASYNC110
            await anyio.sleep(0.2)
        return told(await client.call_tool("result", which))

    with working(host):
        result = with_tools(host, use)

    assert result["status"] == "succeeded"
    assert result["output"]["video"].startswith(f"{host.https}/files/")


def test_a_file_is_sent_from_a_listed_folder_only(host: Host) -> None:
    async def use(client: Client) -> tuple[Any, Any, Any]:
        plan = await client.call_tool("plan", ARGUMENTS | {"video_url": str(SAMPLE)})
        submitted = await client.call_tool("submit", ARGUMENTS | {"video_url": str(SAMPLE)})
        outside = await client.call_tool("submit", ARGUMENTS | {"video_url": "/etc/hostname"})
        return plan, submitted, outside

    with working(host) as worker:
        plan, submitted, outside = with_tools(host, use, "--files", str(SAMPLE.parent))
        request_id = told(submitted)["request_id"]
        while host.state(request_id) != "succeeded":
            time.sleep(0.2)

    assert told(plan)["source"]["codec"] == "h264"
    assert worker.inputs[0]["video_url"].startswith(UPLOAD_SCHEME)
    assert "video_url: /etc/hostname is no file in the folders" in refused(outside)


def test_what_is_wrong_is_told_by_field_and_a_queued_job_is_cancelled(host: Host) -> None:
    async def use(client: Client) -> tuple[list[Any], Any]:
        calls = (
            ("submit", ARGUMENTS | {"fps": 500, "promt": "x"}),
            ("submit", ARGUMENTS | {"video_url": str(SAMPLE)}),
            ("status", {"request_id": "none"}),
            ("status", {"request": "none"}),
        )
        answers = [await client.call_tool(name, arguments) for name, arguments in calls]
        submitted = told(await client.call_tool("submit", ARGUMENTS))
        return answers, await client.call_tool("cancel", {"request_id": submitted["request_id"]})

    answers, cancelled = with_tools(host, use)

    wrong, path, unknown, misnamed = map(refused, answers)
    assert wrong.splitlines() == [
        "fps: Input should be less than or equal to 60",
        "promt: There is no such field; did you mean prompt?",
    ]
    assert "start rotoscope mcp with --files" in path
    assert "no such request" in unknown
    assert "request_id: Field required" in misnamed
    assert told(cancelled)["outcome"] == "cancelled"
    assert host.state(told(cancelled)["request_id"]) == "cancelled"
