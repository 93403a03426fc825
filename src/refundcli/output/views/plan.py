"""What a plan holds, on a terminal."""

from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from refundcli.output.terminal import BAD, DOUBT, GOOD, STRONG, Screen, local_time
from refundcli.output.views.bulk import show_ends

if TYPE_CHECKING:
    from refundcli.services.bulk.plan_contents import PlanContents


def show_plan(plan: "PlanContents", screen: Screen, *, zone: ZoneInfo) -> None:
    made_at = local_time(datetime.fromisoformat(plan.planned_at), zone)
    screen.say((plan.file, STRONG), f"   plan for {plan.kind}   {_rows(plan.rows)}   ", (_totals(plan), STRONG))
    screen.say(f"Made by {plan.planned_by}   {made_at}   from {plan.source}")
    screen.blank()
    lines = [f"line {row.line:,}   {row.invoice}   {row.customer_name}   {row.amount}" for row in plan.ends]
    show_ends(lines, plan.rows, screen)
    screen.blank()
    if plan.refusal:
        screen.say(("✗ ", BAD), f"May not be applied: {plan.refusal}.")
    elif plan.changed:
        screen.say(("! ", DOUBT), f"May be applied; {_rows(plan.changed)} will be refused: the invoice has changed.")
    else:
        screen.say(("✓ ", GOOD), f"May be applied{': it was begun as ' + plan.run.id if plan.run else ''}.")
    screen.command(f"Next: {plan.command}")


def _rows(count: int) -> str:
    return f"{count:,} row{'s'[: count != 1]}"


def _totals(plan: "PlanContents") -> str:
    return ", ".join(map(str, plan.totals))
