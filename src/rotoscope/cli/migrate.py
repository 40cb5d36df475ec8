"""migrate: lay out the database that the settings name, and move a data folder's jobs into it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rotoscope.cli.configuration import DataDir, read_settings
from rotoscope.errors import OperatorError
from rotoscope.jobs.move import move_jobs
from rotoscope.jobs.open import open_store
from rotoscope.jobs.statements import SCHEMA_VERSION
from rotoscope.keys import FILE_NAME as KEYS
from rotoscope.keys import KeyStore, open_keys
from rotoscope.postgres import Postgres
from rotoscope.settings import Settings
from rotoscope.web.signing import FILE_NAME as WEBHOOK_KEYS
from rotoscope.web.signing import KeyFile, KeyTable

MOVED_KEYS = "keys.moved.sqlite"


def migrate(
    *,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="A data folder whose jobs and keys move into the database of database_url.",
            show_default=False,
            exists=True,
            file_okay=False,
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Create or upgrade the tables of the configured database; nothing that is there is lost."""
    settings = read_settings(data_dir=data_dir)
    if source and not settings.database_url:
        raise OperatorError(
            "Set database_url (ROTOSCOPE_DATABASE_URL) to the PostgreSQL database that the jobs of "
            f"{source} move to."
        )
    with closing(open_store(settings)), open_keys(settings) as keys:
        _say(f"The tables of {_place(settings)} are ready, at schema version {SCHEMA_VERSION}.")
        if source:
            _move(source, settings, keys)


def _move(source: Path, settings: Settings, keys: KeyStore) -> None:
    with _pool(settings) as target:
        moved = move_jobs(source, target)
        _say(f"{moved.jobs} jobs moved; {moved.there} were there already.")
        _say(f"{_move_keys(source, keys)} keys moved.")
        if made := _copy_webhook_keys(source, target):
            _say(f"{made} webhook signing keys copied.")
    _say(
        f"Results and uploads stay in {source}: servers find them there while it is their "
        "data_dir, or copy them to the object store (docs/operations.md)."
    )


def _move_keys(source: Path, keys: KeyStore) -> int:
    if not (source / KEYS).exists():
        return 0
    with KeyStore(source) as folder:
        copied = folder.copy_to(keys)
    # A key that is revoked there must not live on here.
    (source / KEYS).rename(source / MOVED_KEYS)
    return copied


def _copy_webhook_keys(source: Path, target: Postgres) -> int:
    """Those that receivers know, unless the servers of the database have keys of their own."""
    table = KeyTable(target)
    if not (source / WEBHOOK_KEYS).exists() or table.load():
        return 0
    found = KeyFile(source).load()
    for key in found:
        table.add(key, only_if_empty=False, drop_before=0)
    return len(found)


@contextmanager
def _pool(settings: Settings) -> Iterator[Postgres]:
    assert settings.database_url  # noqa: S101 - seen to in migrate()
    with closing(Postgres(settings.database_url.get_secret_value(), most=2)) as pool:
        yield pool


def _place(settings: Settings) -> str:
    """In words, without the password."""
    url = settings.database_url
    return "the PostgreSQL database" if url else str(settings.data_dir)


def _say(sentence: str) -> None:
    Console(highlight=False).print(sentence, markup=False, soft_wrap=True)
