"""What one worker of a provider run knows: its rows, its refunds in flight, and the steps for the next commit."""

from collections import deque

from refundcli.domain.bulk_run import BulkRun
from refundcli.domain.statuses import Provider
from refundcli.services.bulk.report import RunLimits, RunReport, StopPolicy
from refundcli.services.bulk.worker.group_commit import Group, WorkerContext
from refundcli.services.bulk.worker.leased_rows import InFlightRefund, Row
from refundcli.services.bulk.worker.request_pool import RequestPool
from refundcli.services.dispatch.leases import is_live
from refundcli.services.dispatch.send_refund import (
    SendingPolicy,
)
from refundcli.services.ports.books import Books
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.providers import PaymentProvider, Providers
from refundcli.system.processes import this_process


class WorkerState:
    """The state of a worker. `row_lease_seconds`: another worker may take over its rows after this long."""

    def __init__(
        self,
        run: BulkRun,
        books: Books,
        providers: Providers,
        clock: Clock,
        policy: SendingPolicy,
        limits: RunLimits,
        *,
        row_lease_seconds: float,
    ) -> None:
        self.run, self.books, self.providers, self.clock, self.policy = run, books, providers, clock, policy
        self.limits = limits
        self.report = RunReport()
        self.stop_policy = StopPolicy(limits)
        self.pool = RequestPool(limits.in_flight)
        self.connected: dict[Provider, PaymentProvider] = {}
        self.context = WorkerContext(
            run, this_process(), clock, policy, self.connected, self._lease_seconds, row_lease_seconds
        )
        # Leased and not started; started; and those whose outcome is being stored.
        self.to_do: deque[Row] = deque()
        self.rows: set[Row] = set()
        self.ending: dict[int, Row] = {}
        # The invoices and request keys of the started rows.
        self.busy: set[str] = set()
        # The refunds that are not settled, by id; those that wait for T2; and those that wait until a time.
        self.flights: dict[str, InFlightRefund] = {}
        self.to_claim: deque[InFlightRefund] = deque()
        self.parked: list[tuple[float, InFlightRefund]] = []
        # Refunds whose payments are being looked up before they are sent.
        self.asking: set[InFlightRefund] = set()
        self.on_the_wire: set[InFlightRefund] = set()
        self.next = Group()
        self.is_stopping = False

    @property
    def is_idle(self) -> bool:
        return not (self.rows or self.to_do or self.on_the_wire or self.ending)

    def _pause_left(self, flight: InFlightRefund) -> float:
        return self.providers.pace(flight.provider.name).pause_left

    def _lease_seconds(self, provider: Provider) -> float:
        """Seconds to wait for a turn, send with retries, and store the outcome."""
        waiting_seconds = self.providers.pace(provider).time_for(2 * self.limits.in_flight)
        return self.policy.sending_seconds + waiting_seconds

    def _is_ours(self, flight: InFlightRefund) -> bool:
        """Does this worker hold the refund's lease? No process holds that of an abandoned refund."""
        sending = flight.refund.sending
        return sending is not None and is_live(sending, self.clock.now())
