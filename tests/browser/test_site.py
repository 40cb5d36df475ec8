"""The documentation site in Chromium, as a visitor meets it on a web server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PATIENCE_MS, OpenPage

ROOT = Path(__file__).parents[2]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Tests print what fails, not each request."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the site as `make site` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_phone_reads_and_searches_without_another_host(page: OpenPage, address: str) -> None:
    """Pages fit 360 pixels, a word is found, and only this server was asked for anything."""
    visitor = page(viewport={"width": 360, "height": 740}, color_scheme="dark")
    asked: list[str] = []
    complaints: list[str] = []
    visitor.on("request", lambda request: asked.append(request.url))
    visitor.on("console", lambda line: complaints.append(line.text))
    visitor.on("pageerror", lambda error: complaints.append(str(error)))

    for name in ("index", "parameters", "how-it-works", "cli", "reference/settings"):
        visitor.goto(f"{address}/{name}.html")
        expect(visitor.locator("h1")).to_be_visible()
        assert visitor.evaluate("document.documentElement.scrollWidth") == 360, name
    visitor.locator("label[for=__search]").first.click()
    # Material listens to keys, so the word has to be typed.
    visitor.get_by_role("textbox", name="Search").press_sequentially("skeletons")
    found = visitor.locator(".md-search-result__link")
    expect(found.first).to_be_visible(timeout=PATIENCE_MS)

    assert len(asked) > 10
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert complaints == []
