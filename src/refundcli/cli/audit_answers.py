"""What `store check` and `audit verify` say about the audit trail."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from refundcli.domain.errors import Refused

if TYPE_CHECKING:
    from refundcli.store.checks.audited_rows import AuditFindings

_SHOWN = 20


class AuditMismatch(Refused):
    """The audit chain is broken, or rows are not as it says."""

    code = "audit-mismatch"

    def __init__(self, findings: "AuditFindings", problems: list[str]) -> None:
        sentences = findings.sentences + problems
        super().__init__(
            "The store does not agree with its audit trail.",
            hint=f"{listing(sentences)}\nSomebody changed it past refundcli. Stop refunding from it, copy it, and"
            " compare the copy with the last backup.",
            context={"problems": sentences, "mismatches": list(map(asdict, findings.mismatches))},
        )


def listing(sentences: list[str]) -> str:
    more = f"\n· and {len(sentences) - _SHOWN} more" if len(sentences) > _SHOWN else ""
    return "\n".join(f"· {sentence}" for sentence in sentences[:_SHOWN]) + more


def compared_words(findings: "AuditFindings") -> str:
    """Since when rows are compared, of a store that an older release began; else nothing."""
    if not findings.baseline:
        return ""
    return (
        f" Rows are compared with the audit trail from entry {findings.baseline} on, when the store was upgraded;"
        " what was changed before cannot be seen."
    )
