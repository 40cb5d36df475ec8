"""list and watch, against a real server."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from PIL import Image
from rich.console import Console

from rotoscope.cli.exits import Exit
from rotoscope.cli.listing import Lister, table_of
from rotoscope.cli.watch import JsonLines, Lines, LiveTable, Look, find, looks
from rotoscope.client import Client, UnreachableError
from rotoscope.schema.output import Failure, Listed, Progress
from tests.cli.conftest import PROGRESS, Rotoscope, Site
from tests.journey.conftest import ROTOSCOPE

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def listed(request_id: str, status: str, **more: object) -> Listed:
    links = {"model_id": "m", "status_url": "s", "result_url": "r"}
    asked = {"request_id": request_id, "status": status, "created_at": NOW - timedelta(seconds=90)}
    return Listed.model_validate(asked | links | more)


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


@pytest.fixture
def lister(site: Site) -> Iterator[Lister]:
    with Lister(site.url, None) as lister:
        yield lister


def test_requests_are_listed_newest_first(site: Site, rotoscope: Rotoscope) -> None:
    """As a table or as JSON, all or those of one status, some or all."""
    assert rotoscope("list").stdout == "No requests.\n"
    ids = [site.submit() for _ in range(3)]
    site.fail(site.claim())

    rows = words(rotoscope("list").stdout)
    assert [row[:2] for row in rows[1:]] == [
        [ids[2], "in_queue"],
        [ids[1], "in_queue"],
        [ids[0], "failed"],
    ]
    assert rows[3][2] == "video_too_short"
    some = rotoscope("list", "--status", "in_queue", "--limit", "1", "--json")
    page = json.loads(some.stdout)
    assert [one["request_id"] for one in page["requests"]] == [ids[2]]
    rest = rotoscope("list", "--cursor", page["next_cursor"], "--json").stdout
    assert [one["request_id"] for one in json.loads(rest)["requests"]] == [ids[1], ids[0]]
    assert "There are more" in rotoscope("list", "--limit", "2").stderr


def test_a_list_follows_pages(site: Site, lister: Lister, monkeypatch: pytest.MonkeyPatch) -> None:
    """For more than a server gives at once."""
    ids = [site.submit() for _ in range(5)]
    monkeypatch.setattr("rotoscope.cli.listing.AT_ONCE", 2)

    page = lister.newest(limit=4)
    assert [one.request_id for one in page.requests] == ids[:0:-1]
    assert page.next_cursor
    assert len(lister.newest(limit=9).requests) == 5


def test_a_refused_list_is_a_sentence(site: Site, rotoscope: Rotoscope) -> None:
    """Of the server, or of what answers where none is."""
    wrong = rotoscope("list", "--cursor", "x")
    assert wrong.exit_code == Exit.WRONG_USE
    assert "next_cursor" in wrong.stderr
    elsewhere = rotoscope("list", "--server", f"{site.url}/docs")
    assert elsewhere.exit_code == Exit.FAILED
    assert elsewhere.stderr.strip()
    away = rotoscope("watch", "--server", "http://127.0.0.1:9")
    assert away.exit_code == Exit.FAILED
    assert "http://127.0.0.1:9 does not answer" in away.stderr


def test_watch_puts_what_goes_on_first(site: Site, lister: Lister, rotoscope: Rotoscope) -> None:
    """Running requests, those that wait longest, then what ended; at most so many rows."""
    done, runs, first, second = (site.submit() for _ in range(4))
    site.fail(site.claim())
    site.report(site.claim())

    assert [one.request_id for one in find(lister, 20)] == [runs, first, second, done]
    assert [one.request_id for one in find(lister, 1)] == [runs]
    rows = words(rotoscope("watch", "--once").stdout)
    assert rows[1][:3] == [runs, "in_progress", "denoise"]
    assert rows[4][:3] == [done, "failed", "video_too_short"]
    lines = rotoscope("watch", "--once", "--json").stdout.splitlines()
    assert [json.loads(line)["request_id"] for line in lines] == [runs, first, second, done]


def test_watch_tells_each_change_until_ctrl_c(site: Site) -> None:
    """As a line of JSON each, at once; Ctrl-C is its proper end."""
    request = site.submit()
    command = [*ROTOSCOPE, "watch", "--json", "--every", "0.1", "--server", site.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            seen = [json.loads(process.stdout.readline())]
            job = site.claim()
            seen.append(json.loads(process.stdout.readline()))
            site.fail(job)
            seen.append(json.loads(process.stdout.readline()))
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert [one["request_id"] for one in seen] == [request] * 3
    assert [one["status"] for one in seen] == ["in_queue", "in_progress", "failed"]


def test_watch_outlasts_a_server_that_goes_away(site: Site) -> None:
    """What was seen last stays, with the reason; a first look must succeed."""
    request = site.submit()
    with Lister(site.url, None) as lister:
        seen = looks(lister, 5)
        assert next(seen).trouble is None
        there, lister._client = lister._client, Client("http://127.0.0.1:9", patience_s=0)
        look = next(seen)
        assert look.trouble
        assert "does not answer" in look.trouble
        assert [one.request_id for one in look.requests] == [request]
        lister._client.close()
        lister._client = there
        assert next(seen).trouble is None
    with Lister("http://127.0.0.1:9", None) as nobody, pytest.raises(UnreachableError):
        next(looks(nobody, 5))


def test_a_live_table_is_drawn_again_in_place() -> None:
    """With stage, step, share and time left, at fixed columns; trouble is told below."""
    console = Console(width=100, height=20, force_terminal=True, highlight=False)
    with console.capture() as drawn, LiveTable(console, lambda _: None) as view:
        view.show(Look([listed("a", "in_queue")], NOW))
        running = listed("a", "in_progress", started_at=NOW, progress=Progress(**PROGRESS))
        view.show(Look([running], NOW + timedelta(seconds=5), trouble="It does not answer."))

    last = drawn.get()
    assert "denoise 34%, step 3/8, 0:12 left" in last
    assert "It does not answer. Trying again." in last
    assert "0:05" in last


def test_a_live_table_shows_how_a_request_looks_so_far() -> None:
    """Each picture is fetched once; what is no picture is left out."""
    with BytesIO() as file:
        Image.new("RGB", (64, 32), (255, 0, 0)).save(file, "PNG")
        pictures = [file.getvalue(), b"no picture"]
    console = Console(width=100, height=40, force_terminal=True, color_system="truecolor")
    fetched: list[Listed] = []

    def fetch(one: Listed) -> bytes:
        fetched.append(one)
        return pictures[len(fetched) - 1]

    def look(url: str) -> Look:
        progress = Progress(**PROGRESS | {"preview": url})
        return Look([listed("a", "in_progress", started_at=NOW, progress=progress)], NOW)

    with console.capture() as drawn, LiveTable(console, fetch) as view:
        view.show(look("http://h/1"))
        view.show(look("http://h/1"))
        view.show(look("http://h/2"))
    assert len(fetched) == 2
    assert drawn.get().count("38;2;255;0;0;48;2;255;0;0m\u2580") == 2 * 48 * 12


def test_a_steady_table_keeps_its_columns() -> None:
    """Whatever is in them."""

    def header(requests: list[Listed]) -> str:
        console = Console(width=100, highlight=False)
        with console.capture() as shown:
            console.print(table_of(requests, NOW, steady=True))
        return shown.get().splitlines()[0]

    short = header([listed("a", "in_queue")])
    error = Failure(code="unsupported_video_format", message="m", retryable=False)
    assert header([listed("a", "failed", error=error)]) == short


def test_views_without_a_terminal_tell_changes_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """In words or in JSON."""
    first, second = listed("a", "in_queue"), listed("b", "in_queue")
    ended = listed("a", "cancelled")
    for view in (Lines(Console(file=sys.stdout)), JsonLines()):
        for requests in ([first], [first, second], [ended, second]):
            view.show(Look(requests, NOW))
    out = capsys.readouterr().out.splitlines()
    assert out[:3] == ["a  in_queue", "b  in_queue", "a  cancelled"]
    told = [json.loads(line) for line in out[3:]]
    assert [(one["request_id"], one["status"]) for one in told] == [
        ("a", "in_queue"),
        ("b", "in_queue"),
        ("a", "cancelled"),
    ]
