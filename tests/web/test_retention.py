"""Nothing is kept for longer than it was promised, and nothing goes that is needed."""

from datetime import UTC, datetime, timedelta

import anyio
import pytest

from rotoscope.storage import Storage
from rotoscope.web import retention
from rotoscope.web.retention import hold_uploads, sweep_uploads
from tests.web.conftest import Site


def after(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


def upload(site: Site) -> str:
    answer = site.http.post("/v1/uploads", content=b"x", headers=site.client)
    return str(answer.json()["url"])


def files(storage: Storage, uri: str) -> tuple[bool, bool]:
    """Whether an upload's facts and its bytes are there."""
    upload_id = uri.rpartition("/")[2]
    return storage.upload(upload_id) is not None, storage.upload_file(upload_id) is not None


def test_an_upload_goes_when_its_time_is_over(site: Site) -> None:
    """Not before, and with its facts."""
    uri, storage = upload(site), site.parts.storage
    sweep_uploads(site.parts, after(23))
    assert files(storage, uri) == (True, True)

    sweep_uploads(site.parts, after(25))
    assert files(storage, uri) == (False, False)
