"""fal's own clients, unchanged, against a server process over TLS."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from rotoscope.schema.fal import APPS
from tests.clients.host import Host, run_script, working

APP = next(iter(APPS))
ARGUMENTS = {"prompt": "a red bicycle", "video_url": "https://example.org/a.mp4", "loras": []}

IN_PYTHON = """
import json, sys, fal_client
app, arguments = sys.argv[1], json.loads(sys.argv[2])
seen = []
"""
SUBSCRIBE = """
result = fal_client.subscribe(
    app, arguments, with_logs=True, priority="normal",
    on_queue_update=lambda s: seen.append([type(s).__name__, getattr(s, "logs", None)]),
)
print(json.dumps({"result": result, "seen": seen}))
"""
CANCEL = """
handle = fal_client.submit(app, arguments)
position = handle.status().position
fal_client.cancel(app, handle.request_id)
after = fal_client.status(app, handle.request_id, with_logs=True)
try:
    fal_client.result(app, handle.request_id)
except fal_client.FalClientHTTPError as error:
    refused = [error.status_code, error.error_type]
try:
    handle.cancel()
except fal_client.FalClientHTTPError as error:
    again = [error.status_code, error.response.json()]
print(json.dumps({"id": handle.request_id, "position": position, "after": type(after).__name__,
                  "error_type": after.error_type, "refused": refused, "again": again}))
"""
LATE = """
handle = fal_client.submit(app, arguments, start_timeout=1.5, priority="low")
*_, last = handle.iter_events()
try:
    handle.get()
except fal_client.FalClientHTTPError as error:
    kind = error.response_headers["x-fal-request-timeout-type"]
    refused = [error.status_code, error.error_type, kind]
print(json.dumps({"error_type": last.error_type, "refused": refused}))
"""
STOP = """
import time
handle = fal_client.submit(app, arguments)
while not isinstance(handle.status(), fal_client.InProgress):
    time.sleep(0.1)
handle.cancel()
*_, last = handle.iter_events()
print(json.dumps({"id": handle.request_id, "error_type": last.error_type}))
"""
FAIL = """
handle = fal_client.submit(app, arguments)
*_, last = handle.iter_events(with_logs=True)
try:
    handle.get()
except fal_client.FalClientHTTPError as error:
    body, status = error.response.json(), error.status_code
print(json.dumps({"error": last.error, "error_type": last.error_type, "status": status,
                  "body": body, "logs": last.logs}))
"""
WRONG = """
try:
    fal_client.submit(app, arguments | {"promt": "x", "audio_url": "https://example.org/a.mp3"})
except fal_client.FalClientHTTPError as error:
    print(json.dumps({"status": error.status_code, "detail": error.response.json()["detail"]}))
"""
ASYNC = """
import asyncio
async def main():
    handle = await fal_client.submit_async(app, arguments)
    async for status in handle.iter_events(with_logs=False):
        seen.append(type(status).__name__)
    return await handle.get()
print(json.dumps({"result": asyncio.run(main()), "seen": seen}))
"""


def in_python(host: Host, script: str, **arguments: object) -> dict[str, Any]:
    """What fal-client prints in a process of its own; it reads its hosts when it is imported."""
    environment = host.environment(FAL_KEY=host.key, FAL_QUEUE_RUN_HOST=host.tls.host)
    text = json.dumps(ARGUMENTS | arguments)
    printed = run_script(sys.executable, "-c", IN_PYTHON + script, APP, text, env=environment)
    answer: dict[str, Any] = json.loads(printed)
    return answer


def test_python_submits_follows_and_fetches(host: Host) -> None:
    with working(host) as worker:
        told = in_python(host, SUBSCRIBE, seed=7, acceleration="regular")

    video = told["result"]["video"]
    assert told["result"]["seed"] == 7
    assert told["result"]["prompt"] == "a red bicycle"
    assert video["url"].startswith(f"{host.https}/files/")
    assert (video["file_size"], video["num_frames"], video["fps"]) == (10, 9, 25.0)
    assert worker.inputs[0]["seed"] == 7
    assert worker.inputs[0]["enable_prompt_expansion"] is True
    kinds = [kind for kind, _ in told["seen"]]
    assert set(kinds) <= {"Queued", "InProgress", "Completed"}
    assert kinds[-1] == "Completed"
    messages = [line["message"] for _, logs in told["seen"] for line in logs or []]
    assert "denoise: 1 of 2 (33% of all)" in messages


def test_python_follows_without_blocking(host: Host) -> None:
    with working(host):
        told = in_python(host, ASYNC)

    assert told["seen"][-1] == "Completed"
    assert told["result"]["video"]["file_name"] == "out.mp4"
    assert 0 <= told["result"]["seed"] < 2**31


def test_python_cancels_what_is_queued(host: Host) -> None:
    told = in_python(host, CANCEL)

    assert told["position"] == 0
    assert host.state(told["id"]) == "cancelled"
    assert (told["after"], told["error_type"]) == ("Completed", "client_cancelled")
    assert told["refused"] == [499, "client_cancelled"]
    assert told["again"] == [400, {"status": "ALREADY_COMPLETED"}]


def test_python_cancels_what_runs(host: Host) -> None:
    with working(host):
        told = in_python(host, STOP)

    assert told["error_type"] == "client_cancelled"
    assert host.state(told["id"]) == "cancelled"


def test_python_gives_a_job_until_then_to_start(host: Host) -> None:
    told = in_python(host, LATE)

    assert told["error_type"] == "request_timeout"
    assert told["refused"] == [504, "request_timeout", "user"]


def test_python_learns_why_a_job_failed(host: Host) -> None:
    with working(host) as worker:
        worker.failing = True
        told = in_python(host, FAIL)

    assert (told["error"], told["error_type"]) == ("There is no such file.", "file_download_error")
    assert told["logs"][-1]["level"] == "ERROR"
    assert told["status"] == 422
    entry = told["body"]["detail"][0]
    assert entry["loc"] == ["body", "video_url"]
    assert (entry["type"], entry["msg"]) == ("file_download_error", "There is no such file.")


def test_python_learns_every_wrong_field(host: Host) -> None:
    told = in_python(host, WRONG)

    assert told["status"] == 422
    assert [entry["loc"] for entry in told["detail"]] == [["body", "promt"]]
    assert "did you mean prompt?" in told["detail"][0]["msg"]


IN_NODE = """
const { fal, ValidationError } = require("@fal-ai/client");
const [proxyUrl, credentials, app, text] = process.argv.slice(2);
fal.config({ credentials, proxyUrl: { url: proxyUrl, when: "always" } });
const input = JSON.parse(text);
const tell = (facts) => console.log(JSON.stringify(facts));
async function main() { %s }
main().catch((error) => { console.error(error); process.exit(1); });
"""
JS_SUBSCRIBE = """
const seen = [];
const result = await fal.subscribe(app, {
  input, logs: true, mode: "%s", pollInterval: 200,
  onQueueUpdate: (update) => seen.push([update.status, (update.logs ?? []).map((l) => l.message)]),
});
tell({ result, seen });
"""
JS_CANCEL = """
const { request_id } = await fal.queue.submit(app, { input });
const before = await fal.queue.status(app, { requestId: request_id });
await fal.queue.cancel(app, { requestId: request_id });
const after = await fal.queue.status(app, { requestId: request_id, logs: true });
const refused = await fal.queue.result(app, { requestId: request_id })
  .catch((error) => [error.status, error.body.error_type, error.requestId]);
tell({ request_id, before, after, refused });
"""
JS_WRONG = """
const refused = await fal.queue.submit(app, { input: { ...input, fps: 500 } })
  .catch((error) => error);
tell({ is: refused instanceof ValidationError, fields: refused.getFieldErrors("fps") });
"""


def in_node(host: Host, folder: Path, script: str) -> dict[str, Any]:
    text = json.dumps(ARGUMENTS)
    file = folder / f"{abs(hash(script))}.cjs"
    file.write_text(IN_NODE % script)
    try:
        arguments = (f"{host.https}/fal/proxy", host.key, APP, text)
        printed = run_script("node", str(file), *arguments, env=host.environment(), cwd=folder)
    finally:
        file.unlink()
    answer: dict[str, Any] = json.loads(printed)
    return answer


@pytest.mark.parametrize("mode", ["polling", "streaming"])
def test_javascript_submits_follows_and_fetches(host: Host, fal_js: Path, mode: str) -> None:
    with working(host):
        told = in_node(host, fal_js, JS_SUBSCRIBE % mode)

    assert told["result"]["data"]["video"]["url"].startswith(f"{host.https}/files/")
    assert host.state(told["result"]["requestId"]) == "succeeded"
    assert told["seen"][-1][0] == "COMPLETED"
    assert "denoise: 1 of 2 (33% of all)" in [line for _, lines in told["seen"] for line in lines]
    if mode == "streaming":
        lines = told["seen"][-1][1]
        assert len(lines) == len(set(lines))


def test_javascript_cancels_what_is_queued(host: Host, fal_js: Path) -> None:
    told = in_node(host, fal_js, JS_CANCEL)

    assert (told["before"]["status"], told["before"]["queue_position"]) == ("IN_QUEUE", 0)
    assert told["after"]["status"] == "COMPLETED"
    assert host.state(told["request_id"]) == "cancelled"
    assert told["refused"] == [499, "client_cancelled", told["request_id"]]


def test_javascript_learns_which_field_is_wrong(host: Host, fal_js: Path) -> None:
    told = in_node(host, fal_js, JS_WRONG)

    assert told["is"]
    assert told["fields"][0]["loc"] == ["body", "fps"]


JS_BLOB = """
const video_url = new Blob(["a clip, as bytes"], { type: "video/mp4" });
const image_url = await fal.storage.upload(new Blob(["an image"], { type: "image/png" }));
const result = await fal.subscribe(app, { input: { ...input, video_url, image_url } });
tell({ status: result.data.video.content_type });
"""


def test_javascript_sends_files(host: Host, fal_js: Path) -> None:
    with working(host) as worker:
        told = in_node(host, fal_js, JS_BLOB)

    (asked,) = worker.inputs
    assert told["status"] == "video/mp4"
    assert uploaded(host, asked["video_url"]) == b"a clip, as bytes"
    assert uploaded(host, asked["image_url"]) == b"an image"


def uploaded(host: Host, uri: str) -> bytes:
    """What a worker gets of an upload."""
    with host.http(host.worker_key) as http:
        answer = http.get(f"/v1/worker/uploads/{uri.rpartition('/')[2]}")
        assert answer.status_code == 200, answer.text
        return answer.content


def test_a_place_for_a_file_takes_one(host: Host) -> None:
    with host.http() as http:
        http.headers["Authorization"] = f"Key {host.key}"
        body = {"file_name": "a.mp4", "content_type": "video/mp4"}
        asked = http.post("/fal/storage/upload/initiate", json=body).json()
        path = asked["upload_url"].removeprefix(host.https)
        first, second = (http.put(path, content=word) for word in (b"one", b"two"))
        parts = http.post("/fal/storage/upload/initiate-multipart", json=body)
        elsewhere = http.post("/fal/proxy", headers={"x-fal-target-url": "https://example.org/"})

    assert (first.status_code, second.status_code) == (200, 404)
    assert uploaded(host, asked["file_url"]) == b"one"
    assert parts.status_code == 404
    assert "/v1/uploads" in parts.json()["detail"]
    assert elsewhere.status_code == 400
    assert "https://queue.fal.run/fal-ai/" in elsewhere.json()["detail"]
