"""The hosted API's own client, played request by request as its documentation tells.

It follows `result_url` as the submit answered it, and builds the other URLs from its base.
"""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from rotoscope.schema.input import MODEL_ID
from tests.clients.host import Host, working

MIB = 1024 * 1024
BODY = {"prompt": "a red bicycle", "video_url": "https://example.org/a.mp4", "loras": []}


class VendorClient:
    """What that client sends, and what it needs of each answer."""

    def __init__(self, base: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self.http = httpx2.Client(headers=headers, timeout=60, follow_redirects=False)
        self.base = base

    def submit(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._checked(self.http.post(f"{self.base}/models/{MODEL_ID}", json=body))

    def status(self, request_id: str) -> dict[str, Any]:
        return self._checked(self.http.get(f"{self.base}/requests/{request_id}/status"))

    def result(self, url: str) -> dict[str, Any]:
        return self._checked(self.http.get(url, params={"include_cost": "true"}))

    def cancel(self, request_id: str) -> dict[str, Any]:
        return self._checked(self.http.post(f"{self.base}/requests/{request_id}/cancel"))

    def _checked(self, answer: httpx2.Response) -> dict[str, Any]:
        assert 200 <= answer.status_code < 300, answer.text
        found: dict[str, Any] = answer.json()
        assert found["request_id"]
        return found


@pytest.fixture
def vendor(host: Host) -> Iterator[VendorClient]:
    # Its settings are a base that ends in /v1, and a token.
    client = VendorClient(f"{host.url}/v1", host.key)
    # Answers name the public address, which is the other side of the TLS.
    client.http.event_hooks = {"request": [_on_loopback(host)]}
    with client.http:
        yield client


def _on_loopback(host: Host) -> Any:
    def send(request: httpx2.Request) -> None:
        if str(request.url).startswith(host.https):
            request.url = httpx2.URL(str(request.url).replace(host.https, host.url, 1))

    return send


def test_from_submit_to_result(host: Host, vendor: VendorClient) -> None:
    submitted = vendor.submit(BODY)
    queued = vendor.status(submitted["request_id"])
    early = vendor.result(submitted["result_url"])
    with working(host):
        while vendor.status(submitted["request_id"])["status"] not in ("completed", "cancelled"):
            time.sleep(0.2)
    result = vendor.result(submitted["result_url"])

    assert (queued["status"], queued["queue_position"]) == ("in_queue", 1)
    assert early["status"] == "in_queue"
    assert result["status"] == "succeeded"
    assert result["cost"] == 0
    assert result["created_at"] < result["finished_at"]
    assert httpx2.URL(result["output"]["video"]).path.endswith(".mp4")


def test_a_failure_is_completed_in_status_and_failed_in_result(
    host: Host, vendor: VendorClient
) -> None:
    with working(host) as worker:
        worker.failing = True
        submitted = vendor.submit(BODY)
        while (status := vendor.status(submitted["request_id"]))["status"] != "completed":
            time.sleep(0.2)
    result = vendor.result(submitted["result_url"])

    assert status["error"]["code"] == "file_download_error"
    assert result["status"] == "failed"
    assert "output" not in result


def test_a_cancel_says_cancelled_twice(vendor: VendorClient) -> None:
    request_id = vendor.submit(BODY)["request_id"]

    cancelled = vendor.cancel(request_id)
    again = vendor.cancel(request_id)

    assert cancelled == {"request_id": request_id, "status": "cancelled", "outcome": "cancelled"}
    assert again == cancelled
    assert vendor.status(request_id)["status"] == "cancelled"


def test_an_ended_request_cannot_be_cancelled(host: Host, vendor: VendorClient) -> None:
    submitted = vendor.submit(BODY)
    with working(host):
        while vendor.status(submitted["request_id"])["status"] != "completed":
            time.sleep(0.2)

    assert vendor.cancel(submitted["request_id"])["outcome"] == "not_cancellable"


def test_data_uris_fill_a_body_up_to_its_limit(vendor: VendorClient) -> None:
    """Its nodes send images of up to 6 MiB so, in bodies of up to 64 MiB."""
    image = "data:image/png;base64," + base64.b64encode(bytes(6 * MIB)).decode()
    body = BODY | {"image_url": image, "video_url": "data:video/mp4;base64,"}
    missing = 64 * MIB - len(json.dumps(body))
    full = json.dumps(body | {"video_url": body["video_url"] + "A" * missing}).encode()
    url = f"{vendor.base}/models/{MODEL_ID}"
    headers = {"Content-Type": "application/json"}

    taken = vendor.http.post(url, content=full, headers=headers)
    refused = vendor.http.post(url, content=full + b" ", headers=headers)

    assert len(full) == 64 * MIB
    assert taken.status_code == 200, taken.text
    assert refused.status_code == 413
    vendor.cancel(taken.json()["request_id"])


@pytest.mark.parametrize(
    ("change", "status"),
    [({"fps": 500}, 422), ({"promt": "x"}, 422), ({"video_url": "ftp://example.org/a"}, 422)],
)
def test_wrong_input_names_the_field(
    vendor: VendorClient, change: dict[str, Any], status: int
) -> None:
    answer = vendor.http.post(f"{vendor.base}/models/{MODEL_ID}", json=BODY | change)

    assert answer.status_code == status
    assert answer.json()["error_code"] == 422001
    assert [entry["loc"] for entry in answer.json()["detail"]] == [["body", *change]]


def test_who_asks_decides(host: Host, vendor: VendorClient) -> None:
    request_id = vendor.submit(BODY)["request_id"]

    def asked(which: str, token: str) -> tuple[int, int]:
        url = f"{vendor.base}/requests/{which}/status"
        answer = httpx2.get(url, headers={"Authorization": f"Bearer {token}"})
        return answer.status_code, answer.json()["error_code"]

    assert asked(request_id, "wrong") == (401, 400004)
    assert asked(request_id, host.worker_key) == (403, 403001)
    assert asked("none", host.key) == (404, 404001)
    vendor.cancel(request_id)
