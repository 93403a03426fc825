"""What `status --alert` does: run the operator's command once for each new finding.

What was sent is remembered in a file of this user, not in the store: `status` only reads the store. A finding that
ends is forgotten, so that it is new when it comes back.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refundcli.cli.context import App
from refundcli.domain.errors import SettingsProblem
from refundcli.output.findings import REST, Finding, findings
from refundcli.output.serializers import document
from refundcli.output.serializers.status import finding
from refundcli.output.terminal import DOUBT
from refundcli.private_files import make_folder, new_file
from refundcli.secrets import redact
from refundcli.services.queries.status import Status
from refundcli.settings import default_state_folder
from refundcli.system.hooks import HookFailed, run_hook


class NoAlertCommand(SettingsProblem):
    code = "no-alert-command"

    def __init__(self) -> None:
        super().__init__(
            "There is no command to run for an alert.",
            hint='Set it under [alert] in the settings: command = ["/usr/local/bin/notify-finance"]',
        )


class AlertsNotRemembered(SettingsProblem):
    code = "alerts-not-remembered"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"What was reported cannot be remembered, so no alert was sent: {why}.",
            hint="Set XDG_STATE_HOME to a folder that this user can write to.",
        )


@dataclass(frozen=True, slots=True)
class SentAlerts:
    """The keys of the findings that were sent, of one store, in a file."""

    path: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait for another `status --alert`, so that nothing is sent twice."""
        make_folder(self.path.parent)
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def read(self) -> set[str]:
        """A damaged file counts as empty: an alert that is repeated does no harm."""
        try:
            return set(json.loads(self.path.read_text(encoding="utf-8"))["sent"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return set()

    def write(self, keys: Collection[str]) -> None:
        with new_file(self.path, replace=True) as file:
            file.write(json.dumps({"sent": sorted(keys)}).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Alerts:
    """Sends the new findings of one store."""

    app: App
    sent_alerts: SentAlerts

    def send(self, status: Status, store_description: Mapping[str, Any]) -> None:
        """A failure is reported on stderr, and sent again next time. Raises AlertsNotRemembered."""
        facts = {"store": store_description["url"], "livemode": status.livemode}
        path = self.sent_alerts.path
        try:
            with self.sent_alerts.locked():
                self._send_new(findings(status), facts)
        except OSError as error:
            raise AlertsNotRemembered(f"{path.parent}: {(error.strerror or str(error)).lower()}") from error

    def _send_new(self, current: Sequence[Finding], facts: Mapping[str, Any]) -> None:
        """Each is remembered at once, so that a kill repeats one alert at most."""
        sent = still_there(self.sent_alerts.read(), current)
        self.sent_alerts.write(sent)
        for found in current:
            if found.key in sent:
                continue
            try:
                self._run(found, facts)
            except HookFailed as failure:
                words = redact(f"The alert about {found.summary} was not sent: {failure}.")
                self.app.err.say(("! ", DOUBT), words)
                if not failure.may_continue:
                    return
            else:
                sent.add(found.key)
                self.sent_alerts.write(sent)

    def _run(self, found: Finding, facts: Mapping[str, Any]) -> None:
        """Without the keys of the providers in its environment. Raises HookFailed."""
        settings = self.app.settings
        text = json.dumps(document({**facts, "finding": finding(found)})) + "\n"
        environ = {name: value for name, value in self.app.environ.items() if name not in settings.secret_variables}
        run_hook(settings.alert.command or (), text, seconds=settings.alert.timeout, environ=environ)


def alerts_of(app: App) -> Alerts:
    """Raises NoAlertCommand, AlertsNotRemembered."""
    folder = default_state_folder()
    if not app.settings.alert.command:
        raise NoAlertCommand
    if folder is None:
        raise AlertsNotRemembered("you have no home folder (HOME is not set)")
    store_hash = hashlib.sha256(app.settings.store.url.encode()).hexdigest()
    return Alerts(app, SentAlerts(folder / "alerts" / f"{store_hash[:32]}.json"))


def still_there(sent: Collection[str], current: Sequence[Finding]) -> set[str]:
    """The sent ones that have not ended. Of a list that is cut off, none has: it may be in the rest."""
    current_keys = {found.key for found in current}
    cut_off = {found.kind for found in current if found.subject == REST}
    return {key for key in sent if key in current_keys or key.partition(":")[0] in cut_off}
