"""What each exit code means. Scripts depend on these numbers; a test freezes them."""

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


OF_FAMILY = {
    Family.USAGE: ExitCode.USAGE,
    Family.REFUSED: ExitCode.REFUSED,
    Family.SETTINGS: ExitCode.SETTINGS,
    Family.NOT_FOUND: ExitCode.NOT_FOUND,
    Family.DECLINED: ExitCode.DECLINED,
    Family.NOT_SENT: ExitCode.NOT_SENT,
    Family.UNKNOWN: ExitCode.OUTCOME_UNKNOWN,
}
