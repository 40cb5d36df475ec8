"""A hook of the site: what pages link to outside this folder goes along, under source/.

In the repository those links lead to files and folders; so they do on the site. A folder becomes a
page that lists its files.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
FOLDER = "source"
LINK = re.compile(r"(?<=\]\()[^)\s#]+")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file and folder that some page links to."""
    for page in list(files.documentation_pages()):
        for link in LINK.findall(page.content_string):
            if path := outside(link, page.src_uri):
                add(path, files, config)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of the documentation's folder to what was added for them."""
    here = page.file.src_uri

    def led(link: re.Match[str]) -> str:
        path = outside(link[0], here)
        return posixpath.relpath(target(path), posixpath.dirname(here)) if path else link[0]

    return markdown if here.startswith(FOLDER) else LINK.sub(led, markdown)


def outside(link: str, page: str) -> str | None:
    """What `link` on `page` means, from the repository's root; None where that is a page."""
    if ":" in link:
        return None
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    return None if path.startswith("docs/") else path


def target(path: str) -> str:
    """Where it is on the site."""
    return f"{FOLDER}/{path}/index.md" if (ROOT / path).is_dir() else f"{FOLDER}/{path}.txt"


def add(path: str, files: Files, config: MkDocsConfig) -> None:
    if not (ROOT / path).exists() or files.get_file_from_path(target(path)):
        return  # a link to what is not there stays broken, and the build says so
    if not (ROOT / path).is_dir():
        files.append(added(target(path), (ROOT / path).read_text(), config))
        return
    inside = [one for one in sorted((ROOT / path).rglob("*")) if one.is_file() and is_text(one)]
    for file in inside:
        add(file.relative_to(ROOT).as_posix(), files, config)
    files.append(added(target(path), listing(path, inside), config))


def added(name: str, text: str, config: MkDocsConfig) -> File:
    return File.generated(config, name, content=text, inclusion=InclusionLevel.NOT_IN_NAV)


def is_text(file: Path) -> bool:
    try:
        file.read_text()
    except UnicodeDecodeError:
        return False
    return "__pycache__" not in file.parts


def listing(path: str, inside: list[Path]) -> str:
    names = [file.relative_to(ROOT / path).as_posix() for file in inside]
    return f"# {path}\n\n" + "".join(f"- [{name}]({name}.txt)\n" for name in names)
