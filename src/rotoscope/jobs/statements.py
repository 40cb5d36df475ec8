"""The statements in sql/, and the few words in them that differ from one database to the other."""

from collections.abc import Mapping
from importlib.resources import files

from rotoscope.errors import OperatorError

SCHEMA_VERSION = 2

SQLITE = {
    "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "often_updated": "",
    # One writer at a time: what a statement reads cannot go stale before it writes.
    "lock": "",
    "skip_locked": "",
    "settled_down": "",
    "limits": "json_each(:limits) AS most",
    "loaded": "json_each(:loaded) AS one",
    "ids": "json_each(:ids) AS one",
}

POSTGRES = {
    "serial": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    # Room for a heartbeat's row beside the old one, so that no index has to move; and a table that
    # is never allowed to grow stale.
    "often_updated": "WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, "
    "autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.02)",
    "lock": "FOR UPDATE",
    "skip_locked": "FOR UPDATE SKIP LOCKED",
    # While the database or this server was away no heartbeat could arrive.
    "settled_down": "AND epoch() > CAST(:not_before AS DOUBLE PRECISION) "
    "AND epoch() > CAST(extract(epoch FROM pg_postmaster_start_time()) AS DOUBLE PRECISION) "
    "+ CAST(:lease_s AS DOUBLE PRECISION)",
    "limits": "json_each_text(CAST(:limits AS json)) AS most (key, value)",
    "loaded": "json_array_elements_text(CAST(:loaded AS json)) AS one (value)",
    "ids": "json_array_elements_text(CAST(:ids AS json)) AS one (value)",
}


def check_version(place: str, version: int, release: str) -> None:
    """Refuse tables that this release does not know; `release` is the first that does.

    Raises:
        OperatorError: They are of another version.
    """
    if version != SCHEMA_VERSION:
        raise OperatorError(
            f"{place} has schema version {version}, this Rotoscope needs {SCHEMA_VERSION}; use "
            f"Rotoscope {release} or newer, or name another place."
        )


def statements(dialect: Mapping[str, str]) -> Mapping[str, str]:
    """Each file's text by its name, in one dialect; `choose` once for each `front`."""
    texts = {
        file.name.removesuffix(".sql"): file.read_text(encoding="utf-8").strip().rstrip(";")
        for file in (files("rotoscope.jobs") / "sql").iterdir()
        if file.name.endswith(".sql")
    }
    choose, near, far = (texts.pop(name) for name in ("choose", "front_near", "front_far"))
    words = {**dialect, "schema": texts["schema"].format(**dialect) + ";"}
    return {
        **{name: text.format(**words) for name, text in texts.items()},
        "choose_near": choose.format(**words, front=near),
        "choose_far": choose.format(**words, front=far),
    }
