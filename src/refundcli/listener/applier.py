"""Applies stored events beside the storing; a failure here never stops the listener."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from refundcli.domain.errors import RefundcliError
from refundcli.services.events import Applied

# What could not be applied, for the provider could not be asked, is tried again this often (seconds).
_AGAIN_AFTER = 60.0

Apply = Callable[[int, Callable[[], bool]], Applied]


@dataclass
class Applier:
    """One thread. `apply` takes the id to go on after, and asks before each batch whether to go on."""

    apply: Apply
    told: Callable[[Applied], None]
    trouble: Callable[[str], None]
    _wake: threading.Event = field(default_factory=threading.Event)
    _ending: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="applier", daemon=True)

    def start(self) -> None:
        self._wake.set()
        self._thread.start()

    def wake(self, new: int) -> None:
        if new:
            self._wake.set()

    def stop(self) -> None:
        """End after the batch that is under way; what was not applied waits in the store."""
        self._ending.set()
        self._wake.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        after = 0
        while not self._ending.is_set():
            # Without news for a while: from the start again, with what waited.
            after = after if self._wake.wait(_AGAIN_AFTER) else 0
            self._wake.clear()
            try:
                done = self.apply(after, lambda: not self._ending.is_set())
            except Exception as error:
                self.trouble(error.message if isinstance(error, RefundcliError) else repr(error))
                after = 0
                self._ending.wait(1)
                continue
            after = done.last_id
            self.told(done)
