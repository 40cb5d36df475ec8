"""How events become log lines: one logger, key-value pairs, the request id in every line of a job.

A module logs with `log = telemetry.logger()` and `log.info("job_claimed", request_id=...)`; the
event name is a past-tense term of docs/glossary.md. Metrics and traces will hang on the same names.
"""

import logging
import sys

import structlog


def configure(*, verbose: bool = False) -> None:
    """Send log lines to standard error: for people on a terminal, else one JSON object a line."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.DEBUG if verbose else logging.INFO
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def logger() -> structlog.typing.FilteringBoundLogger:
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return bound
