"""A refusal, a doubt or a mistake, on standard error."""

from typing import Any

from refundcli.domain.errors import RefundcliError
from refundcli.output.serializers import document
from refundcli.secrets import redact


def error(problem: RefundcliError) -> dict[str, Any]:
    return document({"error": error_details(problem)})


def error_details(problem: RefundcliError) -> dict[str, Any]:
    return {
        "code": problem.code,
        "message": redact(problem.message),
        "hint": redact(problem.hint),
        "context": {name: _redacted(fact) for name, fact in problem.context.items()},
    }


def _redacted(fact: object) -> object:
    if isinstance(fact, list | tuple):
        return [_redacted(part) for part in fact]
    return redact(fact) if isinstance(fact, str) else fact
