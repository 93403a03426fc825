"""The exit codes, and which command can end with which. Scripts depend on them."""

from collections.abc import Mapping
from enum import IntEnum

from refundcli.domain.errors import Family


class ExitCode(IntEnum):
    DONE = 0
    BUG = 1
    USAGE = 2
    REFUSED = 3
    SETTINGS = 4
    NOT_FOUND = 5
    DECLINED = 6
    NOT_SENT = 7
    OUTCOME_UNKNOWN = 8
    PARTLY = 9
    INTERRUPTED = 130


# In docs/errors.md at more length.
MEANINGS: Mapping[ExitCode, str] = {
    ExitCode.DONE: "Done.",
    ExitCode.BUG: "A bug in refundcli.",
    ExitCode.USAGE: "Invalid command line or file; or a question needs an answer and there is no terminal.",
    ExitCode.REFUSED: "Refused by a rule; or a comparison found a difference.",
    ExitCode.SETTINGS: "Settings, credentials or the store are not usable; or the output could not be written.",
    ExitCode.NOT_FOUND: "Not found.",
    ExitCode.DECLINED: "The provider declined.",
    ExitCode.NOT_SENT: "Not sent: the provider is unreachable or rate limiting. Safe to repeat.",
    ExitCode.OUTCOME_UNKNOWN: "The outcome is unknown, a refund awaits approval, or something needs attention.",
    ExitCode.PARTLY: "Some rows of a file were refused or are unfinished; the others were done.",
    ExitCode.INTERRUPTED: "Interrupted.",
}

OF_FAMILY = {
    Family.USAGE: ExitCode.USAGE,
    Family.REFUSED: ExitCode.REFUSED,
    Family.NOT_USABLE: ExitCode.SETTINGS,
    Family.NOT_FOUND: ExitCode.NOT_FOUND,
    Family.DECLINED: ExitCode.DECLINED,
    Family.NOT_SENT: ExitCode.NOT_SENT,
    Family.UNKNOWN: ExitCode.OUTCOME_UNKNOWN,
}

# Any command may end with these: done; a bug; a command line, settings or a store that cannot be used; Ctrl-C.
ALWAYS = frozenset({ExitCode.DONE, ExitCode.BUG, ExitCode.USAGE, ExitCode.SETTINGS, ExitCode.INTERRUPTED})

_REFUSED, _NOT_FOUND, _UNKNOWN = ExitCode.REFUSED, ExitCode.NOT_FOUND, ExitCode.OUTCOME_UNKNOWN
_AT_A_PROVIDER = {_REFUSED, _NOT_FOUND, ExitCode.DECLINED, ExitCode.NOT_SENT, _UNKNOWN}

# The other codes of each command. Every command that writes may end with 8: the last commit may be unconfirmed.
ENDINGS: Mapping[str, frozenset[ExitCode]] = {
    name: frozenset(codes)
    for name, codes in {
        "init": (),
        "invoice import": (_REFUSED, _UNKNOWN, ExitCode.PARTLY),
        "invoice pull": (_REFUSED, _NOT_FOUND, ExitCode.NOT_SENT, _UNKNOWN),
        "invoice list": (),
        "invoice show": (_REFUSED, _NOT_FOUND, ExitCode.NOT_SENT, _UNKNOWN),
        "invoice history": (_NOT_FOUND,),
        "find": (),
        "refund": (*_AT_A_PROVIDER, ExitCode.PARTLY),
        "mark-refunded": (_REFUSED, _NOT_FOUND, _UNKNOWN, ExitCode.PARTLY),
        "void": _AT_A_PROVIDER | {ExitCode.PARTLY},
        "uncollectible": _AT_A_PROVIDER | {ExitCode.PARTLY},
        "plan make": (ExitCode.PARTLY,),
        "plan show": (_REFUSED,),
        "status": (_UNKNOWN,),
        "resume": _AT_A_PROVIDER | {ExitCode.PARTLY},
        "resolve": (_REFUSED, _NOT_FOUND, ExitCode.DECLINED, _UNKNOWN),
        "reconcile": (_REFUSED, _NOT_FOUND, ExitCode.NOT_SENT, _UNKNOWN),
        "events listen": (),
        "events ingest": (_REFUSED, _UNKNOWN),
        "events apply": (_UNKNOWN,),
        "events list": (_NOT_FOUND,),
        "events show": (_NOT_FOUND,),
        "events acknowledge": (_REFUSED, _NOT_FOUND, _UNKNOWN),
        "acknowledge": (_REFUSED, _NOT_FOUND, _UNKNOWN),
        "refunds list": (_REFUSED, _NOT_FOUND),
        "refunds show": (_REFUSED, _NOT_FOUND, ExitCode.NOT_SENT, _UNKNOWN),
        "runs list": (_NOT_FOUND,),
        "runs show": (_NOT_FOUND,),
        "credit-notes list": (_REFUSED, _NOT_FOUND),
        "credit-notes show": (_NOT_FOUND,),
        "credit-notes export": (_REFUSED, _NOT_FOUND),
        "audit list": (_NOT_FOUND,),
        "audit verify": (_REFUSED,),
        "audit export": (),
        "audit anchor": (),
        "store number-format": (_UNKNOWN,),
        "store upgrade": (_UNKNOWN,),
        "store clock": (_UNKNOWN,),
        "store backup": (),
        "store check": (_REFUSED, _UNKNOWN),
        "formats list": (),
        "formats show": (),
        "config": (),
        "config trust": (),
        "completion": (),
        "sandbox": (),
        "help": (),
    }.items()
}
