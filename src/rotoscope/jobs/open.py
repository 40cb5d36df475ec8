"""The job table that the settings name."""

from rotoscope.jobs.postgres import PostgresJobStore
from rotoscope.jobs.sqlite import SqliteJobStore
from rotoscope.jobs.store import JobStore
from rotoscope.settings import Settings

DAY_S = 24 * 3600.0


def open_store(settings: Settings) -> JobStore:
    """The database's where there is one, else the data folder's; close it in the end.

    Raises:
        DatabaseAwayError: The database does not answer.
        OperatorError: It cannot be used; the sentence says why.
    """
    retention_s = settings.retention_days * DAY_S or None
    if settings.database_url is None:
        return SqliteJobStore(
            settings.data_dir,
            lease_s=settings.lease_s,
            max_attempts=settings.max_attempts,
            retention_s=retention_s,
        )
    return PostgresJobStore(
        settings.database_url.get_secret_value(),
        lease_s=settings.lease_s,
        max_attempts=settings.max_attempts,
        retention_s=retention_s,
    )
