"""A limit on how long something takes, for what happens thousands of times a second: cheap, and good to a tenth of it.

`asyncio.timeout` arms a timer of the loop each time, 8 µs; here one timer looks at all that are under way.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

LOOK_S = 0.1


class Budget:
    """`with budget.spent():` raises `TimeoutError` where what is in it takes longer than `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: dict[Spending, float] = {}
        self._is_looking = False

    def spent(self) -> Spending:
        """A budget for the task that asks, from now on."""
        return Spending(self)

    def begin(self, spending: Spending) -> None:
        loop = asyncio.get_running_loop()
        self._open[spending] = loop.time() + self._seconds
        if not self._is_looking:
            self._is_looking = True
            loop.call_later(LOOK_S, self._look, loop)

    def end(self, spending: Spending) -> None:
        self._open.pop(spending, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for spending in [spending for spending, due in self._open.items() if due < now]:
            del self._open[spending]
            spending.is_over = True
            spending.task.cancel()
        self._is_looking = bool(self._open)
        if self._is_looking:
            loop.call_later(LOOK_S, self._look, loop)


class Spending:
    """One budget on its way. What it cancelled by itself becomes a `TimeoutError`; another's cancellation stays one."""

    __slots__ = ("_budget", "_cancelling", "is_over", "task")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.is_over = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # only tasks wait
        self.task, self._cancelling = task, task.cancelling()
        self._budget.begin(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._budget.end(self)
        if self.is_over and self.task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
