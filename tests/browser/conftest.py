"""A real browser: Debian's Chromium, driven by Playwright, which downloads none of its own."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

OpenPage = Callable[..., Page]
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
)
PATIENCE_MS = 60_000
"""Of one wait; a machine that does other things as well is slow, not wrong."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium with a profile of its own; tests are skipped where there is none.

    One for each file: while Playwright runs, no event loop can run in this thread, and other
    files' tests start some.
    """
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no `chromium` on this machine")
    with sync_playwright() as playwright:
        # The sandbox wants rights that containers do not give.
        browser = playwright.chromium.launch(
            executable_path=path, args=FLAGS, chromium_sandbox=False, timeout=PATIENCE_MS
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[OpenPage]:
    """Opens pages, each with cookies and storage of its own; `page(viewport=..., ...)`.

    The options are those of Playwright's `Browser.new_context`.
    """
    contexts = []

    def open_page(**options: Any) -> Page:
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        return context.new_page()

    yield open_page
    for context in contexts:
        context.close()
