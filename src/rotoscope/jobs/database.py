"""What the verbs need of a database: statements by their names in sql/, alone or together."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from rotoscope.jobs.rows import Row

Answer = TypeVar("Answer")


class Run(Protocol):
    """Runs one statement of a transaction and answers its rows."""

    def __call__(self, statement: str, /, **values: object) -> Sequence[Row]: ...


class Database(Protocol):
    def read(self, statement: str, /, **values: object) -> Sequence[Row]:
        """Run one statement that changes nothing."""

    def write(self, statement: str, /, **values: object) -> Sequence[Row]:
        """Run one statement: a transaction of its own, on disk when this returns."""

    def transact(self, work: Callable[[Run], Answer], /) -> Answer:
        """Let `work` run its statements in one transaction, on disk when this returns.

        `write` and `transact` may do their work a second time when the answer to the first was
        lost: what they are given must then find what it has done.
        """

    def close(self) -> None: ...
