"""A PostgreSQL store behind PgBouncer in transaction mode: no transaction relies on the session of the previous one.

Needs Debian's package pgbouncer; skipped where it is not installed.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import create_engine, text

from conftest import NewStore
from desk import Desk
from refundcli.sandbox.testing import RunningSandbox
from refundcli.store.checks.integrity import findings
from webhooks import adyen, item, listening, settle_secrets, signed, until

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")


@pytest.fixture(scope="module")
def pgbouncer(postgres: Any) -> Iterator[int]:
    """Its port. Two server connections per database, so that commands share them."""
    server = urlsplit(postgres.get_uri("postgres"))
    host = parse_qs(server.query)["host"][0]
    folder, port = Path(tempfile.mkdtemp(prefix="refundcli-pgb-")), _free_port()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host={host} port={server.port or 5432} user={server.username or 'postgres'}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        "pool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 100\nserver_reset_query_always = 0\n"
    )
    # PgBouncer refuses to run as root; the owner of the server's socket can reach it.
    as_user = ["-u", Path(host).owner()] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(folder, Path(host).owner())
    said = (folder / "said").open("w")
    assert PGBOUNCER
    running = subprocess.Popen([PGBOUNCER, *as_user, str(settings)], stdout=said, stderr=subprocess.STDOUT)
    try:
        _wait_for(port, running, folder / "said")
        yield port
    finally:
        running.terminate()
        running.wait(30)
        said.close()
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, running: subprocess.Popen[bytes], said: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert running.poll() is None, said.read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(said.read_text())


@pytest.fixture
def pooled_desk(new_postgres: NewStore, pgbouncer: int, sandbox: RunningSandbox, tmp_path: Path) -> Iterator[Desk]:
    """A desk whose commands go through PgBouncer; the test reads the server directly."""
    direct = urlsplit(new_postgres())
    user, database = direct.username or "postgres", direct.path.lstrip("/")
    desk = Desk(f"postgresql://{user}@127.0.0.1:{pgbouncer}/{database}", sandbox, tmp_path)
    yield desk
    desk.books.engine.dispose()


def test_a_store_is_made_and_upgraded_through_it(
    postgres: Any, pgbouncer: int, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    name = "through_pgbouncer"
    postgres.psql(f"CREATE DATABASE {name};")
    user = urlsplit(postgres.get_uri(name)).username or "postgres"
    desk = Desk(f"postgresql://{user}@127.0.0.1:{pgbouncer}/{name}", sandbox, tmp_path)
    assert desk.json("init --timezone Europe/Stockholm")["timezone"] == "Europe/Stockholm"
    upgraded = desk.json("store upgrade")
    assert upgraded["before"] == upgraded["after"]
    desk.paid_outside()
    desk.json("mark-refunded INV-2 --full --reason other --yes")
    assert desk.json("store check")["sound"]
    desk.books.engine.dispose()


def test_refunds_and_files_go_through_it(pooled_desk: Desk, tmp_path: Path) -> None:
    desk = pooled_desk
    charges = {f"INV-{n}": desk.sandbox.charge("100.00 EUR").reference for n in range(1, 13)}
    rows = [f"{number},cus_1,EUR,100.00,paid,2026-09-01,2026-09-02,card,stripe,{charges[number]}" for number in charges]
    rows += [f"CASH-{n},cus_1,EUR,50.00,paid,2026-09-01,2026-09-02,cash,," for n in range(1, 41)]
    columns = "number,customer,currency,total,status,issued_on,paid_on,payment_method,provider,payment_reference"
    invoices = tmp_path / "invoices.csv"
    invoices.write_text("\n".join([columns, *rows]) + "\n")
    assert desk.json(f"invoice import {invoices}")["new"] == 52
    refunded = desk.json("refund INV-1 --amount 30 --reason other --yes")
    assert refunded["refunds"][0]["status"] == "succeeded"
    bulk = tmp_path / "refunds.csv"
    bulk.write_text("invoice,amount,reason\n" + "".join(f"INV-{n},40.00,other\n" for n in range(2, 13)))
    assert desk(f"refund --from {bulk} --yes -o json").exit_code == 0
    marks = tmp_path / "marks.csv"
    marks.write_text("invoice,amount,reason\n" + "".join(f"CASH-{n},50.00,other\n" for n in range(1, 41)))
    assert desk(f"mark-refunded --from {marks} --yes -o json").exit_code == 0
    assert desk.count("credit_note") == 1 + 11 + 40
    assert [sum(desk.refunded_at_provider(charge)) for charge in charges.values()] == [3000, *[4000] * 11]
    assert findings(desk.books) == []
    assert desk("store check").exit_code == 0


def test_the_listener_stores_and_applies_through_it(pooled_desk: Desk) -> None:
    desk = pooled_desk
    settle_secrets(desk)
    reference = desk.paid_by_card(provider="adyen")
    refund = desk.json("refund INV-1 --full --reason other --yes")["refunds"][0]
    assert refund["status"] == "pending"
    with listening(desk) as listener:
        event = item(
            eventCode="REFUND",
            originalReference=reference,
            pspReference=refund["provider_reference"],
            merchantReference=refund["id"],
            amount={"currency": "EUR", "value": 10000},
        )
        assert listener.post(adyen(signed(event)))[0] == 200
        until(lambda: desk.invoice("INV-1").refunds[0].state == "succeeded", seconds=60)
    assert findings(desk.books) == []


def test_settings_of_a_transaction_end_with_it(pooled_desk: Desk) -> None:
    """Another client gets the same server connection in its current state."""
    desk = pooled_desk
    desk.paid_outside()
    engine = create_engine(
        desk.url.replace("postgresql://", "postgresql+psycopg://"), connect_args={"prepare_threshold": None}
    )
    with engine.connect() as connection:
        assert connection.execute(text("SHOW lock_timeout")).scalar() == "0"
        assert connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar() == 0
        assert connection.execute(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")).scalar() == 0
    engine.dispose()
