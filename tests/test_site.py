"""The documentation site: it builds, its links lead somewhere, nothing comes from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from rotoscope.jobs.job import TRANSITIONS
from rotoscope.schema.input import VideoToVideoInput

ROOT = Path(__file__).parent.parent
FETCHED = {"src", "srcset", "poster", "data"}
OUTSIDE = re.compile(r"https?:|//")


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """As `make site` does, into another folder."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(site)],
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stderr
    return folder


@dataclass
class Html(HTMLParser):
    """The ids of a page, where its links lead, and what a browser fetches for it."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif name in FETCHED or (name == "href" and tag == "link"):
                self.fetched.append(value or "")
            elif name == "href":
                self.links.append(value or "")


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Html]:
    read = {}
    for file in site.rglob("*.html"):
        read[file] = Html()
        read[file].feed(file.read_text())
    return read


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Html]) -> None:
    """To a file of the site; and where it names a place on a page, that is there."""
    broken = [
        f"{file.relative_to(site)}: {link}"
        for file, page in pages.items()
        if file.name != "404.html"
        for link in [*page.links, *page.fetched]
        if not leads(file, link, pages)
    ]

    assert len(pages) > 20
    assert not broken


def leads(file: Path, link: str, pages: dict[Path, Html]) -> bool:
    parts = urlsplit(link)
    if parts.scheme in {"https", "http", "data"}:
        return True
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if target.is_dir():
        target /= "index.html"
    if parts.fragment and target in pages:
        return parts.fragment in pages[target].ids
    return target.is_file()


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Html]) -> None:
    """Neither by a page nor by a style sheet; links that a reader may follow are free."""
    fetched = [one for page in pages.values() for one in page.fetched]
    styled = [one for file in site.rglob("*.css") for one in wanted_by(file)]

    assert fetched
    assert styled
    assert [one for one in [*fetched, *styled] if OUTSIDE.match(one)] == []


def wanted_by(style: Path) -> Iterator[str]:
    for found in re.finditer(r"(?:url\(|@import\s*)['\"]?([^'\")]+)", style.read_text()):
        yield found[1]


def test_pages_name_no_folder_of_the_builder(site: Path) -> None:
    text = "".join(file.read_text() for file in site.rglob("*.html"))

    assert str(ROOT) not in text


def test_faults_fail_the_build(tmp_path: Path) -> None:
    """A link to nothing, a place that is not there, a page that the navigation forgets."""
    for name in ("docs", "deploy", "integrations"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    links = "[gone](gone.md), [no such place](clients.md#gone)"
    (tmp_path / "docs" / "forgotten.md").write_text(f"# On no list\n\n{links}\n")

    built = build(tmp_path, tmp_path / "site")

    assert built.returncode != 0
    for told in ("  - forgotten.md", "link 'gone.md'", "an anchor '#gone'"):
        assert told in built.stderr


def test_the_picture_of_the_states_has_the_arrows_that_there_are() -> None:
    """Boxes and arrows of images/states.svg carry their names as ids."""
    picture = Html()
    picture.feed((ROOT / "docs" / "images" / "states.svg").read_text())

    arrows = {f"{before}-{after}" for before, others in TRANSITIONS.items() for after in others}
    assert picture.ids - {"title", "tip"} == arrows | set(TRANSITIONS)


def test_every_parameter_has_its_words() -> None:
    """docs/parameters.md says of each what to expect."""
    page = (ROOT / "docs" / "parameters.md").read_text()

    assert [name for name in VideoToVideoInput.model_fields if f"`{name}`" not in page] == []
