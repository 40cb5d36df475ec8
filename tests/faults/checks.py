"""What must hold after any run, from what clients and witnesses saw."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.faults.load import Job
from tests.faults.place import MAX_ATTEMPTS, Place
from tests.faults.witness import Seen

SLACK_S = 8.0
"""How much later than its claim a worker may note a start: a held wire delays the answer."""


def violations(
    jobs: Sequence[Job], seen: Sequence[Seen], place: Place, *, slack_s: float
) -> list[str]:
    """Each broken promise as a sentence; empty when all were kept.

    `slack_s` is how much later than its claim a start may be noted, where several workers are.
    """
    return [
        *ends(jobs),
        *attempts(seen),
        *order(jobs, seen, slack_s=slack_s),
        *outputs(jobs, seen, place),
        *webhooks(jobs, place.receiver.told),
    ]


def ends(jobs: Iterable[Job]) -> Iterator[str]:
    """Every accepted job ends, once, and stays as it ended."""
    for job in jobs:
        if job.ended is None:
            yield f"{job.request_id}: accepted, and never ended"
        yield from job.faults


def attempts(seen: Iterable[Seen]) -> Iterator[str]:
    """No attempt is handed out twice, and none is beyond the bound."""
    starts = Counter((one.request_id, one.attempt) for one in seen if one.what == "start")
    for (request_id, attempt), count in starts.items():
        if count > 1:
            yield f"{request_id}: attempt {attempt} was started {count} times"
        if not 1 <= attempt <= MAX_ATTEMPTS:
            yield f"{request_id}: attempt {attempt} of at most {MAX_ATTEMPTS}"


def order(jobs: Iterable[Job], seen: Iterable[Seen], *, slack_s: float) -> Iterator[str]:
    """The first starts of a key's jobs are in the order of their submits."""
    numbers = {job.request_id: (job.key, job.number) for job in jobs}
    first: dict[int, list[tuple[int, float, str]]] = defaultdict(list)
    met: set[str] = set()
    for one in seen:
        if one.what != "start" or one.request_id in met:
            continue
        met.add(one.request_id)
        # A claim whose answer was lost is not seen; the next attempt says nothing about order.
        if one.attempt == 1 and one.request_id in numbers:
            key, number = numbers[one.request_id]
            first[key].append((number, one.at, one.request_id))
    for starts in first.values():
        latest = 0.0
        for _, at, request_id in sorted(starts):
            if at < latest - slack_s:
                yield f"{request_id}: started {latest - at:.1f} s before one submitted earlier"
            latest = max(latest, at)


def webhooks(jobs: Iterable[Job], told: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Each end is told at least once, and no other end is."""
    for job in jobs:
        status = (job.ended or {}).get("status")
        ends = set(told.get(job.request_id, ()))
        if status and ends != {status}:
            yield f"{job.request_id}: ended as {status}, webhooks told {sorted(ends) or 'nothing'}"


def outputs(jobs: Iterable[Job], seen: Iterable[Seen], place: Place) -> Iterator[str]:
    """A job that succeeded has the files of its last attempt; any other has none."""
    last: dict[str, int] = defaultdict(int)
    for one in seen:
        last[one.request_id] = max(last[one.request_id], one.attempt)
    for job in jobs:
        status = (job.ended or {}).get("status")
        files = place.stored(job.request_id)
        if status == "succeeded":
            made_by = {int(file.parent.name.partition("-")[0]) for file in files}
            if made_by != {last[job.request_id]}:
                yield (
                    f"{job.request_id}: has files of attempts {sorted(made_by)}, "
                    f"its last was {last[job.request_id]}"
                )
        elif files:
            yield f"{job.request_id}: is {status}, yet there are {len(files)} files of it"
