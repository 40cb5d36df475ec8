"""The page at `/` in a real browser, on a real server; the test plays the worker."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from rotoscope.cli.children import Child
from rotoscope.keys import KeyStore
from rotoscope.media.clip import Clip
from rotoscope.media.encode import encode
from rotoscope.schema.output import Failure, Outcome, Progress
from rotoscope.schema.worker import Assignment
from rotoscope.worker.api import WorkerApi
from rotoscope.worker.progress import Report
from tests.browser.conftest import PATIENCE_MS, OpenPage
from tests.jobs.conftest import make_outcome

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "src/rotoscope/web/playground"
KEY = "a-worker-key-of-this-test"
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 900}
MOST_BYTES = 300_000
FPS = Fraction(25)

expect.set_options(timeout=PATIENCE_MS)


class Told(Report):
    """A report that says what the test wants."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._told = progress

    @property
    def progress(self) -> Progress:
        return self._told


@dataclass(frozen=True, slots=True)
class Site:
    """A server, and the worker that this test plays."""

    url: str
    worker: WorkerApi
    folder: Path

    def claim(self) -> Assignment:
        job = self.worker.claim(wait_s=30)
        assert job
        return job

    def tell(self, job: Assignment, fraction: float, *, picture: bool = False) -> bool:
        """Report progress; answers whether the job is to be stopped."""
        preview = self.worker.store_preview(job, jpeg()) if picture else None
        progress = Progress(
            stage="denoise",
            stages=["fetch", "denoise", "encode"],
            step=round(40 * fraction),
            steps=40,
            fraction=fraction,
            eta_s=12.0,
            preview=preview,
        )
        return self.worker.heartbeat(job, Told(progress))

    def succeed(self, job: Assignment) -> None:
        encoded = encode(clip(200), quality="low", into=self.folder)
        stored = self.worker.store(job, encoded.path, encoded.path.name)
        made = make_outcome()
        sent = job.input.model_dump(mode="json")
        manifest = made.manifest.model_copy(update={"prompt": job.input.prompt, "input": sent})
        facts = {"file": stored.key, "media": encoded.media, "manifest": manifest}
        outcome = Outcome.model_validate(made.model_copy(update=facts).model_dump())
        self.worker.succeed(job, outcome, Report())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server on loopback that needs no key."""
    folder = tmp_path_factory.mktemp("playground")
    with serving(folder, anonymous=True) as site:
        yield site


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(clip(60), quality="low", into=tmp_path_factory.mktemp("source")).path


@contextmanager
def serving(folder: Path, *, anonymous: bool) -> Iterator[Site]:
    """`rotoscope serve` in `folder`."""
    settings = {"DATA_DIR": str(folder), "PORT": "0", "WORKER_KEY": KEY, "LEASE_S": "3600"}
    settings["ANONYMOUS"] = str(anonymous).lower()
    server = Child("serve", {f"ROTOSCOPE_{name}": told for name, told in settings.items()}, None)
    try:
        url = server.announced()
        with WorkerApi(url, KEY, worker_id="browser") as worker:
            yield Site(url, worker, folder)
    finally:
        server.end()


def clip(level: int) -> Clip:
    """Two seconds of a grey wedge up to `level`, that moves."""
    wedge_W = np.linspace(0, level, 192).astype(np.uint8)
    frames_THWC = np.stack([np.roll(wedge_W, 4 * frame) for frame in range(50)])
    return Clip(np.broadcast_to(frames_THWC[:, None, :, None], (50, 128, 192, 3)).copy(), FPS)


def jpeg() -> bytes:
    kept = BytesIO()
    Image.linear_gradient("L").resize((192, 128)).save(kept, "JPEG")
    return kept.getvalue()


@dataclass(slots=True)
class Opened:
    """The page, and what its console said."""

    page: Page
    complaints: list[str]

    def send(self, source: Path, prompt: str) -> None:
        """Fill in what is required, and generate."""
        page = self.page
        page.locator("[data-field=video_url] input[type=file]").set_input_files(source)
        expect(page.get_by_label("Video", exact=True)).to_have_value(re.compile("^rotoscope://"))
        page.get_by_label("Prompt", exact=True).fill(prompt)
        page.get_by_role("button", name="Generate").click()
        expect(self.state).to_contain_text("in queue, place 1")

    @property
    def state(self) -> Locator:
        return self.page.locator(".state")


@pytest.fixture
def opened(page: OpenPage, site: Site) -> Iterator[Callable[..., Opened]]:
    """Opens the playground; afterwards no page may have had an error in its console."""
    pages: list[Opened] = []

    def open_playground(url: str = site.url, **options: Any) -> Opened:
        shown = Opened(page(**{"viewport": DESKTOP, **options}), [])
        shown.page.on("console", lambda said: shown.complaints.append(f"{said.type} {said.text}"))
        shown.page.on("pageerror", lambda error: shown.complaints.append(str(error)))
        shown.page.goto(url)
        shown.page.wait_for_selector("form")
        pages.append(shown)
        return shown

    yield open_playground
    assert [said for shown in pages for said in shown.complaints] == []


def test_the_committed_page_is_what_the_sources_give() -> None:
    """Nobody changed a source, or a built file, and forgot `npm run build`."""
    record = json.loads((BUILT / "build.json").read_text())
    kept = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")
    folder = ROOT / "playground"
    below = [file for part in ("src", "public") for file in (folder / part).rglob("*")]
    sources = [*(folder / name for name in kept), *(file for file in below if file.is_file())]
    built = [file for file in BUILT.iterdir() if file.name != "build.json"]

    assert record["sources"] == hashes(sources, folder)
    assert record["files"] == hashes(built, BUILT)


def hashes(files: Iterable[Path], folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): sha256(file.read_bytes()).hexdigest() for file in files
    }


def test_a_clip_is_made_and_compared_with_its_source(
    opened: Callable[..., Opened], site: Site, source: Path
) -> None:
    """From a dropped file over progress and a picture of it to the slider, and out again."""
    shown = opened()
    page = shown.page
    shown.send(source, "a pencil drawing")

    job = site.claim()
    site.tell(job, 0.4, picture=True)
    expect(shown.state).to_have_text("denoise, 40 %")
    expect(page.get_by_text("Step 16 of 40.")).to_be_visible()
    picture = page.get_by_alt_text("How the clip looks so far")
    expect(picture).to_have_js_property("naturalWidth", 192)

    site.succeed(job)
    expect(shown.state).to_have_text("succeeded")
    for name in ("The result", "The source"):
        page.wait_for_function(
            "name => document.querySelector(`[aria-label='${name}']`).readyState >= 2", arg=name
        )
    slide = page.get_by_label("Before and after")
    slide.focus()
    page.keyboard.press("Home")
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    before = page.locator("video.before")
    expect(before).to_have_css("clip-path", "inset(0px 80% 0px 0px)")
    link = page.get_by_role("link", name="Download")
    assert link.get_attribute("href", timeout=PATIENCE_MS).startswith(f"{site.url}/files/")  # type: ignore[union-attr]
    item = page.locator(".queue .item").first
    expect(item).to_contain_text("succeeded")

    # What was asked for stays with the page, the source with the server.
    page.reload()
    expect(item).to_contain_text("a pencil drawing")
    item.click()
    page.get_by_role("button", name="Compare with the source").click()
    expect(before).to_be_visible()
    page.get_by_role("button", name="Use these settings").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a pencil drawing")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Really delete?").click()
    expect(page.get_by_text("What you generate appears here.")).to_be_visible()


def test_a_file_can_be_dropped(opened: Callable[..., Opened], source: Path) -> None:
    """As with a mouse: it is uploaded, and shown."""
    page = opened().page
    content = list(source.read_bytes())
    dropped = page.evaluate_handle(
        """content => {
            const dropped = new DataTransfer();
            dropped.items.add(new File([new Uint8Array(content)], "cat.mp4"));
            return dropped;
        }""",
        content,
    )
    page.dispatch_event("[data-field=video_url] .source", "drop", {"dataTransfer": dropped})
    expect(page.get_by_label("Video", exact=True)).to_have_value(re.compile("^rotoscope://"))
    expect(page.get_by_text("cat.mp4")).to_be_visible()
    expect(page.get_by_label("The chosen source")).to_have_js_property("videoWidth", 192)


def test_copied_requests_run_as_they_are(
    opened: Callable[..., Opened], site: Site, source: Path, tmp_path: Path
) -> None:
    """The script submits, waits and downloads; curl submits."""
    page = opened().page
    page.locator("[data-field=video_url] input[type=file]").set_input_files(source)
    expect(page.get_by_label("Video", exact=True)).to_have_value(re.compile("^rotoscope://"))
    page.get_by_label("Prompt", exact=True).fill('it\'s \\ "red"')

    script = subprocess.Popen([sys.executable, "-c", copied(page, "Python")], cwd=tmp_path)
    job = site.claim()
    assert job.input.prompt == 'it\'s \\ "red"'
    site.succeed(job)
    assert script.wait(PATIENCE_MS / 1000) == 0
    assert (tmp_path / "result.mp4").stat().st_size > 0

    if bash := shutil.which("bash") if shutil.which("curl") else None:
        subprocess.run([bash, "-c", copied(page, "curl")], check=True, capture_output=True)
        job = site.claim()
        assert job.input.prompt == 'it\'s \\ "red"'
        site.succeed(job)


def test_every_field_of_the_schema_has_a_control(opened: Callable[..., Opened]) -> None:
    """With its bounds; what they are set to is what is copied."""
    page = opened().page
    schema = page.evaluate(
        "async () => (await (await fetch('v1/models?include_schema=true')).json())"
    )["models"][0]["input_schema"]["properties"]
    fields = page.locator("form [data-field]").evaluate_all("all => all.map(a => a.dataset.field)")
    assert set(fields) == set(schema)
    for name, field in schema.items():
        if field.get("type") in {"number", "integer"} and name != "seed":
            slider = page.locator(f"[data-field={name}] input[type=range]")
            bounds = [float(slider.get_attribute(end) or "nan") for end in ("min", "max")]
            assert bounds == [field["minimum"], field["maximum"]], name

    page.get_by_label("Prompt", exact=True).fill("it's red")
    page.get_by_label("Video", exact=True).fill("https://example.org/a.mp4")
    page.get_by_text("Camera", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_role("radio", name="static").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.get_by_text("Size and length").click()
    page.get_by_label("Generate audio").uncheck()
    page.get_by_label("Video size", exact=True).select_option("custom")
    page.get_by_label("Video size, width").fill("640")
    page.get_by_role("button", name="Add a LoRA").click()
    page.get_by_label("Path").fill("owner/name")
    page.locator(".row input[type=number]").fill("0.8")
    page.get_by_role("button", name="Add a LoRA").click()
    page.get_by_role("button", name="Remove").last.click()

    assert json.loads(copied(page, "JSON")) == {
        "prompt": "it's red",
        "video_url": "https://example.org/a.mp4",
        "loras": [{"path": "owner/name", "scale": 0.8, "weight_name": None}],
        "camera_lora": "jib_up",
        "generate_audio": False,
        "video_size": {"width": 640, "height": 512},
    }


def copied(page: Page, form: str) -> str:
    """What "copy as" shows."""
    page.get_by_role("button", name=f"Copy as {form}").click()
    text = page.locator("dialog textarea").input_value()
    page.get_by_role("button", name="Close").click()
    return text


def test_a_refused_field_is_named_at_its_control(opened: Callable[..., Opened]) -> None:
    """The server's sentence stands there, and the focus goes there, though its group was folded."""
    shown = opened()
    page = shown.page
    page.get_by_label("Prompt", exact=True).fill("a")
    page.get_by_label("Video", exact=True).fill("https://example.org/a.mp4")
    page.get_by_text("Control", exact=True).click()
    page.locator("[data-field=image_url] input[type=text]").fill("no address")
    page.get_by_text("Control", exact=True).click()
    page.get_by_role("button", name="Generate").click()

    field = page.locator("[data-field=image_url]")
    expect(field.locator(".trouble")).to_be_visible()
    expect(field.locator("input[type=text]")).to_be_focused()

    field.locator("input[type=text]").fill("")
    page.get_by_role("button", name="Add a LoRA").click()
    path = page.get_by_label("Path")
    path.fill("rotoscope://uploads/" + "0" * 32)
    page.get_by_role("button", name="Generate").click()
    expect(path).to_be_focused()
    expect(path).to_have_attribute("aria-invalid", "true")
    expect(page.locator("[data-field=path] .trouble")).to_contain_text("upload")
    expect(field.locator(".trouble")).to_be_hidden()
    assert all("422" in said for said in shown.complaints)
    shown.complaints.clear()


def test_running_and_queued_requests_are_cancelled(
    opened: Callable[..., Opened], site: Site, source: Path
) -> None:
    """One at its worker's next step, the other at once; a failure is told in its words."""
    shown = opened()
    page = shown.page
    shown.send(source, "first")
    job = site.claim()
    expect(shown.state).to_contain_text("in progress")
    page.get_by_role("button", name="Cancel", exact=True).click()
    poll(lambda: site.tell(job, 0.1))
    site.worker.stop(job)
    expect(shown.state).to_have_text("cancelled")

    shown.send(source, "second")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(shown.state).to_have_text("cancelled")

    shown.send(source, "third")
    failure = Failure(code="video_unreadable", message="It has no frames.", retryable=False)
    site.worker.fail(site.claim(), failure, Report())
    expect(shown.state).to_have_text("failed")
    expect(page.locator(".failure")).to_contain_text("It has no frames.")


def test_a_lost_connection_is_told_and_taken_up_again(
    opened: Callable[..., Opened], source: Path
) -> None:
    """The request goes on meanwhile, and so does the page afterwards."""
    shown = opened()
    page = shown.page
    page.route("**/events", lambda route: route.abort())
    page.locator("[data-field=video_url] input[type=file]").set_input_files(source)
    expect(page.get_by_label("Video", exact=True)).to_have_value(re.compile("^rotoscope://"))
    page.get_by_label("Prompt", exact=True).fill("a pencil drawing")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("alert")).to_contain_text("Trying again")
    page.unroute("**/events")
    expect(shown.state).to_have_text("in queue, place 1")
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(shown.state).to_have_text("cancelled")
    assert all("ERR_FAILED" in said for said in shown.complaints)
    shown.complaints.clear()


def poll(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_MS / 1000
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_key_is_asked_for_once(
    opened: Callable[..., Opened], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A wrong one is refused; a right one stays for the tab, in no URL, and can be forgotten."""
    folder = tmp_path_factory.mktemp("keyed")
    token = KeyStore(folder).create("somebody").token
    with serving(folder, anonymous=False) as keyed:
        shown = opened(keyed.url)
        page = shown.page
        urls: list[str] = []
        page.on("request", lambda request: urls.append(request.url))
        page.get_by_label("Key").fill("wrong")
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("alert")).to_contain_text("unknown")
        page.get_by_label("Key").fill(token)
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("button", name="Generate")).to_be_visible()
        page.reload()
        expect(page.get_by_role("button", name="Generate")).to_be_visible()
        assert page.evaluate("() => localStorage.length") == 0
        assert not any(token in url for url in urls)
        assert "Bearer $ROTOSCOPE_KEY" in copied(page, "curl")
        assert 'os.environ["ROTOSCOPE_KEY"]' in copied(page, "Python")
        page.get_by_role("button", name="Forget key").click()
        expect(page.get_by_label("Key")).to_be_visible()
        assert page.evaluate("() => sessionStorage.length") == 0
        assert all("401" in said for said in shown.complaints)
        shown.complaints.clear()


@pytest.mark.parametrize(
    ("viewport", "scheme"),
    [(DESKTOP, "light"), (PHONE, "dark")],
    ids=["desktop-light", "phone-dark"],
)
def test_everybody_can_use_it(
    viewport: dict[str, int], scheme: str, opened: Callable[..., Opened], site: Site, source: Path
) -> None:
    """Axe finds nothing to complain of, and nothing is wider than the window."""
    shown = opened(viewport=viewport, color_scheme=scheme)
    page = shown.page
    page.evaluate("() => document.querySelectorAll('details').forEach(one => one.open = true)")
    page.get_by_role("button", name="Add a LoRA").click()
    check(page)
    page.get_by_role("button", name="Remove").click()
    shown.send(source, "a pencil drawing")
    job = site.claim()
    site.tell(job, 0.6, picture=True)
    expect(shown.state).to_have_text("denoise, 60 %")
    check(page)
    site.succeed(job)
    expect(shown.state).to_have_text("succeeded")
    check(page)
    page.get_by_role("button", name="Copy as curl").click()
    check(page)


def check(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_the_theme_can_be_chosen(opened: Callable[..., Opened]) -> None:
    """Against the system's, and it stays."""
    page = opened(color_scheme="light").page
    light = background(page)
    page.get_by_label("Theme").select_option("dark")
    assert background(page) != light
    page.reload()
    page.wait_for_selector("form")
    assert background(page) != light


def background(page: Page) -> str:
    return str(page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor"))


def test_the_page_is_light_and_brings_all_it_needs(
    opened: Callable[..., Opened], site: Site, record_property: Callable[[str, object], None]
) -> None:
    """Under 300 kB in all, from its own server alone, under a strict policy."""
    page = opened().page
    loaded = page.evaluate(
        """() => performance.getEntriesByType("resource")
            .concat(performance.getEntriesByType("navigation"))
            .map(one => [one.name, one.encodedBodySize])"""
    )
    assert sum(size for _, size in loaded) < MOST_BYTES
    assert {url.startswith(site.url) for url, _ in loaded} == {True}
    paint = page.wait_for_function(
        "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    )
    record_property("first_paint_ms", paint.json_value())
    answer = page.request.get(site.url)
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    same = page.request.get(site.url, headers={"If-None-Match": answer.headers["etag"]})
    assert same.status == 304
    assert page.request.get(f"{site.url}/playground/build.json").status == 404
