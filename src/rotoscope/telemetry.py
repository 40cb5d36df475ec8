"""How events become log lines: one logger, key-value pairs, the request id in every line of a job.

A module logs with `log = telemetry.logger()` and `log.info("job_claimed", request_id=...)`; the
event name is a past-tense term of docs/glossary.md. What libraries log from warnings on comes out
in the same form.
"""

import logging
import sys
from typing import Literal

import structlog

Format = Literal["auto", "console", "json"]


def configure(log_format: Format = "auto", *, verbose: bool = False) -> None:
    """Send log lines to standard error: for people on a terminal, else one JSON object a line."""
    level = logging.DEBUG if verbose else logging.INFO
    renderer = _renderer(log_format)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    _take_over(shared, renderer)


def logger() -> structlog.typing.FilteringBoundLogger:
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return bound


def _renderer(log_format: Format) -> structlog.typing.Processor:
    if log_format == "console" or (log_format == "auto" and sys.stderr.isatty()):
        return structlog.dev.ConsoleRenderer()
    return structlog.processors.JSONRenderer()


def _take_over(
    shared: list[structlog.typing.Processor], renderer: structlog.typing.Processor
) -> None:
    """What libraries say through Python's logging comes out as our own lines do."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
