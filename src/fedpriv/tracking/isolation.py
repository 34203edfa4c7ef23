"""Whatever a tracker does (raise, hang, exit), the run goes on."""

import threading
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue

from fedpriv.errors import in_one_line
from fedpriv.tracking.callback import Callback

_Call = tuple[Callable[[], None], SimpleQueue[BaseException | None]]


class LeftOutError(Exception):
    """A tracker failed; it is told nothing more."""


class Isolated:
    """Calls one tracker's hooks, in a thread of its own, for which the run waits so long and no longer.

    One hook at a time, while the run stands still: a tracker sees a folder at rest.

    Args:
        name: the tracker's, for messages.
        timeout: seconds that a hook may take.
    """

    def __init__(self, *, name: str, callback: Callback, timeout: float) -> None:
        self.name = name
        self._callback, self._timeout = callback, timeout
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def tell(self, hook: str, *arguments: object, **named: object) -> None:
        """Call a hook.

        Raises:
            LeftOutError: it raised, or has not returned in time.
        """
        if self._thread is None:
            # A daemon: one that hangs must not keep the process from ending.
            self._thread = threading.Thread(target=self._serve, name=f"tracker {self.name}", daemon=True)
            self._thread.start()
        # A queue for each answer: whoever was interrupted while waiting for one must not get it for the next.
        answer: SimpleQueue[BaseException | None] = SimpleQueue()
        self._calls.put((partial(getattr(self._callback, hook), *arguments, **named), answer))
        try:
            error = answer.get(timeout=self._timeout)
        except Empty:
            raise LeftOutError(f"no answer within {self._timeout:g} s") from None
        if error is not None:
            raise LeftOutError(in_one_line(error)) from error

    def close(self) -> None:
        """End the thread, once it is idle."""
        self._calls.put(None)

    def _serve(self) -> None:
        while (asked := self._calls.get()) is not None:
            call, answer = asked
            try:
                call()
            except BaseException as error:  # SystemExit, too, is the tracker's affair
                answer.put(error)
            else:
                answer.put(None)
