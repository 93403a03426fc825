"""The figures of `status` as OpenMetrics text, for Prometheus and its kind. They hold no names, ids or amounts.

https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from refundcli.domain.errors import SettingsProblem
from refundcli.output.findings import findings
from refundcli.private_files import draft
from refundcli.services.queries.status import Status

# A collector runs as another user.
_READABLE_BY_ALL = 0o644

Samples = Iterable[tuple[Mapping[str, str], float]]


class MetricsNotWritten(SettingsProblem):
    code = "metrics-not-written"

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"The metrics could not be written to {path}: {(error.strerror or str(error)).lower()}.",
            hint="Name a file in a folder that this user can write to.",
            context={"file": str(path)},
        )


def write_metrics(path: Path, status: Status, now: datetime) -> None:
    """The whole file or nothing, readable by all. Raises MetricsNotWritten."""
    text = metrics_text(status, now)
    try:
        with draft(path, replace=True) as draft_path:
            draft_path.write_text(text, encoding="utf-8")
            os.chmod(draft_path, _READABLE_BY_ALL)
    except OSError as error:
        raise MetricsNotWritten(path, error) from error


def metrics_text(status: Status, now: datetime) -> str:
    found = Counter[str]()
    for finding in findings(status):
        found[finding.kind] += finding.count
    ages = status.pending_ages
    families = (
        _family("refundcli_findings", "What needs attention, by kind.", _labelled("kind", found)),
        _family("refundcli_entries", "Entries of each list of status.", _labelled("list", _entry_counts(status))),
        _family(
            "refundcli_pending_refunds",
            "Refunds accepted and not final, by age.",
            _labelled("age", {"under-one-day": ages.recent, "up-to-limit": ages.older, "over-limit": ages.overdue}),
        ),
        _family("refundcli_events", "Stored provider events, by state.", _labelled("state", status.events)),
        _family(
            "refundcli_webhooks_rejected",
            "Rejected webhook deliveries since the store was created, by reason.",
            _labelled("reason", status.deliveries.rejected),
            kind="counter",
        ),
        *_times(status),
        _family(
            "refundcli_status_timestamp_seconds",
            "When these figures were read.",
            [({}, now.timestamp())],
            unit="seconds",
        ),
    )
    return "".join(families) + "# EOF\n"


def _entry_counts(status: Status) -> dict[str, float]:
    names = {"came_back": "needs_acknowledgement", "elsewhere": "external"}
    return {names.get(name, name): listed.count for name, listed in status.lists.items()}


def _times(status: Status) -> Iterable[str]:
    """Without a sample of what never happened."""
    for name, words, attribute in (
        ("reconcile", "The last complete comparison with the provider.", "last_complete"),
        ("webhook", "The last webhook delivery that was accepted.", "last_delivery"),
        ("listener", "When a listener last reported that it is running.", "listener_seen"),
    ):
        moments = {provider.value: getattr(current, attribute) for provider, current in status.freshness.items()}
        seconds = {provider: moment.timestamp() for provider, moment in moments.items() if moment}
        metric_name = f"refundcli_last_{name}_timestamp_seconds"
        yield _family(metric_name, words, _labelled("provider", seconds), unit="seconds")


def _labelled(label: str, values: Mapping[str, float]) -> Samples:
    return [({label: name}, value) for name, value in values.items()]


def _family(name: str, words: str, samples: Samples, *, kind: str = "gauge", unit: str = "") -> str:
    suffix = "_total" if kind == "counter" else ""
    unit_lines = [f"# UNIT {name} {unit}"] if unit else []
    lines = [f"# TYPE {name} {kind}", *unit_lines, f"# HELP {name} {words}"]
    lines += [f"{name}{suffix}{_labels(labels)} {value:.15g}" for labels, value in samples]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: Mapping[str, str]) -> str:
    """Our own words only, so nothing has to be escaped."""
    pairs = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""
