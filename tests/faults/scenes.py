"""A scene: one desk with its store and both providers, in this process, and a clock that the story moves."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from desk import Answer, Desk
from refundcli import bootstrap
from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import Provider
from refundcli.providers.adyen import events as adyen_events
from refundcli.providers.stripe import events as stripe_events
from refundcli.services.ports.key_windows import KEY_WINDOWS
from refundcli.store.checks.integrity import findings
from webhooks import ADYEN_KEY, STRIPE_SECRET, settle_secrets

CAPTURED = 10_000
# The process dies between T1 and T2: the amount is reserved, nothing was sent.
_KILLED_AFTER_T1 = (
    "import os, sys; from refundcli.services.dispatch.protocol import Dispatch\n"
    "from refundcli.services.bulk.worker.refund_sending import RefundSending\nfrom refundcli.cli.main import run\n"
    "die = lambda *a, **k: os.kill(os.getpid(), 9)\n"
    "Dispatch.first_send = RefundSending._claim = die\n"
    "run(sys.argv[1:])"
)


@dataclass
class Time:
    """The program's clock, shared by every process of the scene."""

    ahead: timedelta = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def today(self) -> date:
        return self.now().date()


@dataclass
class Scene:
    desk: Desk
    provider: str
    time: Time = field(default_factory=Time)
    reference: str = ""

    @property
    def sandbox(self) -> Any:
        return self.desk.sandbox

    def open(self, around: ExitStack, amount: str = "100.00 EUR", **of: Any) -> None:
        """Both providers send signed webhooks, and INV-1 is paid through one of them."""
        settle_secrets(self.desk)
        self.sandbox.webhooks("adyen", hmac_key=ADYEN_KEY)
        self.sandbox.webhooks("stripe", secret=STRIPE_SECRET)
        self.desk.environ["REFUNDCLI_CREDIT_NOTES_NUMBER_FORMAT"] = "CN-{seq}"
        around.enter_context(patch.object(bootstrap, "books_clock", lambda services: self.time))
        for events in (adyen_events, stripe_events):
            # Dates after this machine's clock come from the scene's clock.
            around.enter_context(patch.object(events, "_FUTURE", timedelta(days=3650)))
        self.reference = self.desk.paid_by_card(amount=amount, provider=self.provider, **of)

    # --- what happens --------------------------------------------------------------------------------------

    def __call__(self, command: str) -> Answer:
        return self.desk(f"{command} -o json")

    def refund(self, how_much: str = "--full", key: str = "") -> Answer:
        named = f" --request-key {key}" if key else ""
        return self(f"refund INV-1 {how_much} --reason other --yes{named}")

    def left_ready(self, how_much: str = "--amount 40") -> None:
        self.killed_before_the_claim(f"refund INV-1 {how_much} --reason other --yes")

    def file_of(self, *rows: str) -> Path:
        file = Path(self.desk.folder / "refunds.csv")
        file.write_text("\n".join(["invoice,amount,reason", *rows]) + "\n")
        return file

    def killed_before_the_claim(self, line: str) -> None:
        command = line.split()
        words = [sys.executable, "-c", _KILLED_AFTER_T1, *command]
        ended = subprocess.run(words, env=os.environ | self.desk.environ, check=False, capture_output=True)
        assert ended.returncode == -9, ended

    def time_passes(self, by: timedelta) -> None:
        self.time.ahead += by
        self.sandbox.advance(by.total_seconds())

    def disputed(self, *codes: str, amount: int = CAPTURED) -> None:
        """A new dispute at Adyen with these codes, one a day."""
        dispute = None
        for code in codes:
            self.time_passes(timedelta(days=1))
            going_on: dict[str, Any] = {"dispute": dispute} if dispute else {}
            dispute = self.sandbox.adyen_dispute(self.reference, [code], amount=amount, **going_on)
        self.post_comes()

    def post_is_lost(self) -> None:
        for provider in Provider:
            self.sandbox.deliveries(provider.value, drain=True)

    def post_comes(self) -> None:
        """Ingests every queued delivery of both providers."""
        deliveries = [
            delivery for provider in Provider for delivery in self.sandbox.deliveries(provider.value, drain=True)
        ]
        file = Path(self.desk.folder / "deliveries.jsonl")
        file.write_text("".join(f"{json.dumps(asdict(delivery))}\n" for delivery in deliveries))
        answer = self(f"events ingest {file}")
        assert answer.exit_code in (0, 8), answer

    # --- what is so ----------------------------------------------------------------------------------------

    @property
    def invoice(self) -> Invoice:
        return self.desk.invoice("INV-1")

    @property
    def refunded(self) -> int:
        """The amount refunded at the provider, in its minor units."""
        refunds = self.sandbox.refunds_of(self.reference)
        if self.provider == "adyen":
            return sum(refund.amount for refund in refunds if refund.success is not False)
        return sum(refund.amount for refund in refunds if refund.status not in ("failed", "canceled"))

    @property
    def refund_requests(self) -> int:
        """The number of refund requests."""
        return len(self.sandbox.refund_requests)

    def unsound(self) -> Iterator[str]:
        yield from (f"I9, I10: {sentence}" for sentence in findings(self.desk.books))

    def paid_twice(self, by_the_bank: int = 0) -> Iterator[str]:
        """The customer got more than was captured: by refunds and disputes (R11, I13)."""
        if self.refunded + by_the_bank > CAPTURED:
            yield f"I13: {self.refunded} were given and {by_the_bank} taken by the bank, of {CAPTURED}"

    def sent_into_a_dispute(self) -> Iterator[str]:
        """A refund was sent into an open dispute, whether or not the provider would refuse it (R11)."""
        if self.refund_requests:
            yield "I13: a refund was sent into a dispute"

    def old_keys(self) -> Iterator[str]:
        """By the provider's own record of the first request with each key (I8)."""
        for key in self.sandbox.keys:
            lasted = timedelta(seconds=key.last_seen - key.first_seen)
            if lasted >= KEY_WINDOWS[Provider(key.provider)]:
                yield f"I8: the key {key.key} was sent again after {lasted}"
