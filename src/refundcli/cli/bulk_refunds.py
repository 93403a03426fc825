"""`refund` with a file: send back what was checked, through the providers, many at once."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer

from refundcli.cli.bulk import BulkOptions, Checked, checked_file, tell_rejected
from refundcli.cli.context import App
from refundcli.cli.exit_codes import ExitCode
from refundcli.domain.bulk_run import BulkRun, ItemState, RunItem, RunKind, RunState
from refundcli.domain.refund import Refund
from refundcli.output.bulk_screen import run_shape, show_refunded
from refundcli.output.errors import show_error
from refundcli.output.progress import progress
from refundcli.services.bad_rows import BadRow, Problem
from refundcli.services.bulk_check import BulkReport
from refundcli.services.bulk_marks import how_to_go_on
from refundcli.services.bulk_refunds import RefundWishes, begin_staged
from refundcli.services.bulk_runs import unfinished_run_named
from refundcli.services.interrupts import stop_when_asked
from refundcli.services.run_refunds import run_refunds
from refundcli.services.run_report import RunLimits, RunReport, Stopped

_CODES = {Stopped.ASKED: ExitCode.INTERRUPTED, Stopped.MAX_ERRORS: ExitCode.PARTLY}
