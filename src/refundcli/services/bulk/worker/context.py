"""What the parts of a worker share: its ports, the next transaction, the threads, and whether it is to stop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from refundcli.domain.bulk_run import BulkRun
from refundcli.domain.statuses import Provider
from refundcli.services.bulk.report import StopPolicy
from refundcli.services.bulk.worker.group_commit import GroupCommit
from refundcli.services.bulk.worker.leased_rows import InFlightRefund
from refundcli.services.bulk.worker.request_pool import RequestPool
from refundcli.services.dispatch.leases import Lease, new_lease
from refundcli.services.dispatch.policy import SendingPolicy
from refundcli.services.dispatch.send_refund import RefundDispatch
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.providers import PaymentProvider, Providers, RefundAnswer

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class WorkerContext:
    """`in_flight`: concurrent requests. `on_the_wire`: refunds whose request was sent or is queued."""

    run: BulkRun
    dispatch: RefundDispatch
    in_flight: int
    commits: GroupCommit
    pool: RequestPool
    stop_policy: StopPolicy
    connected: dict[Provider, PaymentProvider] = field(default_factory=dict)
    on_the_wire: set[InFlightRefund] = field(default_factory=set)
    # What a stop interrupts: look-ups and pauses.
    _interruptible: "set[asyncio.Future[Any]]" = field(default_factory=set)

    @property
    def providers(self) -> Providers:
        return self.dispatch.providers

    @property
    def clock(self) -> Clock:
        return self.dispatch.clock

    @property
    def policy(self) -> SendingPolicy:
        return self.dispatch.policy

    @property
    def is_stopping(self) -> bool:
        return self.commits.stopped

    def connect(self, provider: Provider) -> PaymentProvider:
        """The provider, connected once. Raises NotUsable."""
        if provider not in self.connected:
            connection = self.providers.of(provider)
            if provider in CAN_LOOK_UP:
                self.providers.records(provider)
            self.connected[provider] = connection
        return self.connected[provider]

    def pause_left(self, flight: InFlightRefund) -> float:
        return self.providers.pace(flight.provider.name).pause_left

    def lease_seconds(self, provider: Provider) -> float:
        """Seconds to wait for a turn, send with retries, and store the outcome."""
        waiting_seconds = self.providers.pace(provider).time_for(2 * self.in_flight)
        return self.policy.sending_seconds + waiting_seconds

    def lease(self, provider: Provider) -> Lease:
        return new_lease(self.clock.now(), self.lease_seconds(provider), owner=self.commits.worker)

    async def look_up(self, ask: Callable[[], T]) -> T:
        """The provider's answer, from a thread. Raises CancelledError if the worker stops; then the answer is lost."""
        return await self._unless_stopped(asyncio.wrap_future(self.pool.submit(ask, urgent=False)))

    async def pause(self, seconds: float) -> None:
        """Raises CancelledError if the worker stops."""
        await self._unless_stopped(asyncio.ensure_future(asyncio.sleep(seconds)))

    async def send(self, flight: InFlightRefund, ask: Callable[[], RefundAnswer | None]) -> RefundAnswer | None:
        """The answer to its request. Raises CancelledError if the worker stops before a thread has begun to send it."""
        request: Future[RefundAnswer | None] = self.pool.submit(ask, urgent=True)
        flight.request = request
        self.on_the_wire.add(flight)
        answer = await asyncio.wrap_future(request)
        self.on_the_wire.discard(flight)
        return answer

    def stop(self) -> None:
        """Begin nothing new; requests that were sent are waited for."""
        self.commits.stop()
        for future in [*self._interruptible]:
            future.cancel()
        for flight in [*self.on_the_wire]:
            if flight.request and flight.request.cancel():
                self.on_the_wire.discard(flight)

    async def _unless_stopped(self, future: "asyncio.Future[T]") -> T:
        if self.is_stopping:
            future.cancel()
        self._interruptible.add(future)
        try:
            return await future
        finally:
            self._interruptible.discard(future)
