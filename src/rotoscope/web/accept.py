"""From an input that fits the schema to a queued job, whichever dialect asked."""

from rotoscope import telemetry
from rotoscope.jobs.job import Job
from rotoscope.jobs.store import LOW, NORMAL, NewJob, Submission
from rotoscope.keys import Limits
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Adjustment
from rotoscope.web.admission import objections
from rotoscope.web.affinity import affinity_of
from rotoscope.web.errors import invalid
from rotoscope.web.limits import room_for
from rotoscope.web.parts import Parts
from rotoscope.web.pools import pool_of
from rotoscope.web.retention import hold_uploads
from rotoscope.web.terms import Terms

log = telemetry.logger()


def accept(
    asked: VideoToVideoInput,
    model_id: str,
    terms: Terms,
    parts: Parts,
    warnings: tuple[Adjustment, ...] = (),
) -> Submission:
    """Queue what may be queued, or find what the same submit queued before.

    Raises:
        InvalidInputError: The input names something that is not there or may not be used.
        IdempotencyConflictError: The idempotency key stands for another body.
        TooManyRequestsError: The key has submitted as much as it may.
        UnavailableError: The queue is full, or the server is ending.
    """
    if job := _replay(terms, parts):
        return Submission(job, replayed=True)
    if found := objections(asked, terms.owner, parts):
        raise invalid(found)
    limits = parts.keys.limits(terms.owner)
    new = _new_job(asked, model_id, terms, limits, parts, warnings)
    with room_for(terms.owner, limits, parts):
        hold_uploads(asked, new.id, parts)
        made = parts.store.submit(new)
    if not made.replayed:
        parts.bell.ring()
        log.info("job_submitted", request_id=made.job.id, owner=terms.owner, pool=new.pool)
    return made


def _replay(terms: Terms, parts: Parts) -> Job | None:
    """Before anything else: a submit that is repeated counts against no limit."""
    asked = terms.idempotency
    return None if asked is None else parts.store.replay(terms.owner, asked)


def _new_job(  # noqa: PLR0913, PLR0917 - what a job is made of
    asked: VideoToVideoInput,
    model_id: str,
    terms: Terms,
    limits: Limits,
    parts: Parts,
    warnings: tuple[Adjustment, ...],
) -> NewJob:
    low = "low" in (terms.priority, limits.priority)
    return NewJob(
        model_id=model_id,
        key_id=terms.owner,
        input=asked,
        warnings=(*warnings, *held_low(terms, limits)),
        pool=pool_of(parts.settings.pools, model_id, terms.key_name),
        priority=LOW if low else NORMAL,
        weight=limits.weight,
        affinity=affinity_of(asked),
        idempotency=terms.idempotency,
        start_within_s=terms.start_within_s,
        webhook=terms.webhook,
    )


def held_low(terms: Terms, limits: Limits) -> list[Adjustment]:
    """A warning where a key that is limited to low priority asked for normal."""
    if terms.priority != "normal" or limits.priority != "low":
        return []
    why = "The operator limited this key to low priority."
    return [Adjustment(field="X-Priority", asked="normal", used="low", why=why)]
