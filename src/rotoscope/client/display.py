"""What a person sees while a job runs: a live bar on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol, Self

from rich import progress as bars
from rich.console import Console

from rotoscope.schema.output import Adjustment, Progress, Status


class Display(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, status: Status) -> None: ...


def display_on(console: Console) -> Display:
    # In a notebook a bar is a widget, which takes a package that not everybody has.
    widgets = console.is_jupyter and find_spec("ipywidgets") is not None
    return Bar(console) if console.is_terminal or widgets else Lines(console)


@contextmanager
def shown(
    progress: bool | Callable[[Status], Any],  # noqa: FBT001 - as `run` was given it
) -> Iterator[Callable[[Status], Any] | None]:
    """What is told each status: what was given, or a display where somebody may look."""
    console = Console(stderr=True)
    if callable(progress):
        yield progress
    elif progress and (console.is_terminal or console.is_jupyter):
        with display_on(console) as display:
            yield display.show
    else:
        yield None


class Bar:
    """One line that is drawn again: stage, bar, share, steps, time left."""

    def __init__(self, console: Console) -> None:
        self._progress = bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            bars.TaskProgressColumn(),
            bars.TextColumn("{task.fields[detail]}", markup=False),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=1.0, detail="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, status: Status) -> None:
        self._progress.update(
            self._task,
            description=headline(status),
            detail=detail(status),
            completed=status.progress.fraction if status.progress else 0.0,
        )


class Lines:
    """A line for each stage, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, status: Status) -> None:
        line = headline(status)
        if line == self._last:
            return
        self._last = line
        share = f" ({status.progress.fraction:.0%} done)" if status.progress else ""
        self._console.print(f"{line}{share}", markup=False, highlight=False)


def headline(status: Status) -> str:
    """The stage; before there is one, where the job is."""
    if status.progress:
        return status.progress.stage
    if status.queue_position:
        return f"in queue, position {status.queue_position}"
    return {"in_progress": "starting", "completed": "ended"}.get(status.status, status.status)


def detail(status: Status) -> str:
    return "  ".join(_steps_and_time(status.progress)) if status.progress else ""


def in_short(progress: Progress) -> str:
    """As `denoise 34%, step 3/8, 0:12 left`."""
    return ", ".join((f"{progress.stage} {progress.fraction:.0%}", *_steps_and_time(progress)))


def _steps_and_time(progress: Progress) -> Iterator[str]:
    if progress.steps > 1:
        yield f"step {progress.step}/{progress.steps}"
    if progress.eta_s is not None:
        yield f"{clock(progress.eta_s)} left"


def clock(seconds: float) -> str:
    """As 0:07 or 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def adjustment(warning: Adjustment) -> str:
    return f"{warning.field}: asked {warning.asked}, used {warning.used} ({warning.why})"
