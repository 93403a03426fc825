"""events on a real terminal: everything is shown, and no control sequence acts."""

import json
import shlex

import pytest

from desk import Desk
from terminal.terminal import Terminal
from webhooks import ADYEN_KEY, adyen, item, settle_secrets, signed


@pytest.fixture
def new_store(new_sqlite: object) -> object:
    """One database is enough here."""
    return new_sqlite


def shown(desk: Desk, command: str, *, exit_code: int = 0) -> str:
    terminal = Terminal(shlex.split(command), desk.environ, columns=110)
    assert terminal.ends() == exit_code
    return str(terminal.text)


def test_events_are_ingested_listed_and_shown(desk: Desk) -> None:
    settle_secrets(desk)
    desk.paid_by_card(provider="adyen", reference="PAYMENT000000001")
    path = desk.folder / "deliveries.jsonl"
    hostile = signed(item(reason="\x1b[2J\x1b]0;owned\x07 said the bank", pspReference="FIRST"))
    forged = signed(item(pspReference="SECOND"), "ab" * 16)
    path.write_text("\n".join([adyen(hostile).as_line, adyen(forged).as_line, adyen(signed(item("NEWS"))).as_line]))

    words = shown(desk, f"events ingest {path}", exit_code=8)
    assert "2 new events" in words
    assert "1 applied, 1 unreviewed" in words
    assert "1 event needs manual review: refundcli events list --state unreviewed" in words
    assert "✓" not in words
    assert "1 delivery rejected; not stored:" in words
    assert "line 2: the signature of an item is wrong [forged]" in words

    words = shown(desk, "events list")
    assert "REFUND" in words
    assert "applied" in words
    assert "external refund, stored as rf_" in words
    assert "Rejected deliveries: 1 forged" in words

    (event,) = desk.json("events list --state applied")
    words = shown(desk, f"events show {event['id']}")
    assert "said the bank" in words
    assert r"\u001b[2J" in words
    assert ADYEN_KEY not in words
    assert json.dumps("PAYMENT000000001") in words
    assert "0 events processed" in shown(desk, "events apply", exit_code=8)
