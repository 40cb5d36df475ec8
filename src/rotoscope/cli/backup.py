"""backup and restore: what the embedded database and the key files hold, in one archive."""

import sqlite3
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rotoscope.cli.configuration import DataDir, read_settings
from rotoscope.errors import OperatorError

DATABASES = ("jobs.sqlite", "keys.sqlite")
FILES = ("webhook_keys.json",)


def backup(
    file: Annotated[Path, typer.Argument(help="The archive to write, such as rotoscope.tar.")],
    *,
    data_dir: DataDir = None,
) -> None:
    """Save jobs, keys and webhook keys of the data folder; the server may run meanwhile.

    Results and uploads are files of their own: copy outputs/ and uploads/ afterwards.
    """
    folder = _embedded(data_dir)
    if not (folder / DATABASES[0]).exists():
        raise OperatorError(f"There is nothing to save in {folder}: it has no {DATABASES[0]}.")
    if file.exists():
        raise OperatorError(f"{file} exists already; name another file.")
    names = save(folder, file)
    Console(highlight=False).print(f"Saved {', '.join(names)} in {file}.", markup=False)


def restore(
    file: Annotated[Path, typer.Argument(help="An archive that `rotoscope backup` wrote.")],
    *,
    data_dir: DataDir = None,
) -> None:
    """Put a backup into a data folder that has no jobs and no keys yet."""
    folder = _embedded(data_dir)
    if there := [name for name in (*DATABASES, *FILES) if (folder / name).exists()]:
        raise OperatorError(
            f"{folder} has {', '.join(there)} already. Stop the server and move them away, with "
            "the -wal and -shm files beside them, or name another folder by --data-dir."
        )
    names = put_back(file, folder)
    Console(highlight=False).print(f"Restored {', '.join(names)} to {folder}.", markup=False)


def save(folder: Path, file: Path) -> list[str]:
    """Write one moment of each database, and the key files, into a tar archive; their names."""
    with tempfile.TemporaryDirectory(dir=file.resolve().parent, prefix=".backup-") as made:
        inside = Path(made)
        for name in DATABASES:
            if (folder / name).exists():
                _copy(folder / name, inside / name)
        for name in FILES:
            if (folder / name).exists():
                (inside / name).write_bytes((folder / name).read_bytes())
        names = sorted(path.name for path in inside.iterdir())
        whole = inside / "archive.tar"
        with whole.open("xb") as out, tarfile.open(fileobj=out, mode="w") as archive:
            whole.chmod(0o600)
            for name in names:
                archive.add(inside / name, name)
        whole.replace(file)
    return names


def put_back(file: Path, folder: Path) -> list[str]:
    """Unpack an archive into a folder; the names of its files.

    Raises:
        OperatorError: It is no archive of ours, or damaged.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".restore-") as made:
        inside = Path(made)
        try:
            with tarfile.open(file) as archive:
                archive.extractall(inside, filter="data")
        except (OSError, tarfile.TarError) as error:
            raise OperatorError(f"{file} cannot be read as a backup: {error}.") from error
        names = sorted(path.name for path in inside.iterdir())
        if DATABASES[0] not in names or not set(names) <= {*DATABASES, *FILES}:
            raise OperatorError(f"{file} is no backup of Rotoscope's.")
        for name in names:
            if name in DATABASES:
                _check(inside / name)
        for name in names:
            (inside / name).chmod(0o600)
            (inside / name).replace(folder / name)
    return names


def _copy(database: Path, to: Path) -> None:
    """By SQLite's own backup: one moment of it, whatever is written meanwhile."""
    with (
        closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as source,
        closing(sqlite3.connect(to)) as copy,
    ):
        source.backup(copy)
        # A file of its own, without a log beside it.
        copy.execute("PRAGMA journal_mode = DELETE")


def _check(database: Path) -> None:
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
            found = opened.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise OperatorError(f"The backup's {database.name} is damaged: {found}.")


def _embedded(data_dir: Path | None) -> Path:
    settings = read_settings(data_dir=data_dir)
    if settings.database_url is not None:
        raise OperatorError(
            "Jobs and keys are in the database that database_url names: save it with pg_dump and "
            "restore it with pg_restore (docs/operations.md)."
        )
    return settings.data_dir
