"""Two threads of their own that hand messages over, so that no mail server holds anything else up.

The threads of the event loop's executor make cards and open keys; a slow mail server must not take them. And
a thread of that executor keeps its process from ending: these do not. Who waits for a courier waits no longer
than :data:`WAIT`; what nobody began until then is not begun any more.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from desk.sending import How, Outcome

MANY: Final = 2
WAIT: Final = 75.0  # seconds: a whole conversation, and some time for the one before

Errand = Callable[[], Outcome]


class Couriers:
    """They start with the first errand. One for each process."""

    def __init__(self) -> None:
        self._errands: queue.SimpleQueue[tuple[Future[Outcome], Errand]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def run(self, errand: Errand, wait: float = WAIT) -> Outcome:
        """What came of it; *tried* where it is not known in time. Raises what the errand raises."""
        while len(self._threads) < MANY:
            thread = threading.Thread(target=self._work, name="courier", daemon=True)
            self._threads.append(thread)
            thread.start()
        done: Future[Outcome] = Future()
        self._errands.put((done, errand))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(done), wait)
        except TimeoutError:
            return Outcome(How.TRIED, "too_slow")

    def _work(self) -> None:
        while True:
            done, errand = self._errands.get()
            if not done.set_running_or_notify_cancel():
                continue
            try:
                done.set_result(errand())
            except BaseException as fault:
                done.set_exception(fault)
