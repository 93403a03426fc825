"""A long table read by a second process: the same rows, whatever happens to that process."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import pytest

from refundcli.files.invoices import file
from refundcli.files.invoices.file import InvoiceFile
from refundcli.files.reader_process import read_ahead
from refundcli.files.source import open_source
from refundcli.services.ports.bad_rows import BadRow
from refundcli.services.ports.bulk_invoices import InvoiceBlock

HEADER = "number,customer,currency,total,status,issued_on,provider,payment_reference\n"


def row(n: int, *, total: str = "12.50") -> str:
    return f"INV-{n},cus_{n},EUR,{total},paid,2026-09-01,adyen,PSP{n:013}\n"


def some_good_some_not(n: int) -> str:
    if n % 1000 == 7:
        return row(n, total="much")
    return row(n - 1) if n % 1000 == 9 else row(n)


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "invoices.csv"
    path.write_text(HEADER + "".join(map(some_good_some_not, range(30_000))) + 'INV-Q,"cus\n', encoding="utf-8")
    return str(path)


def everything(table: str) -> list[tuple[InvoiceBlock, Sequence[BadRow], list[list[str]]]]:
    with open_source(table, BytesIO()) as source:
        stretches = InvoiceFile(source).batches()
        return [(good, bad, list(map(list, originals()))) for good, bad, originals in stretches]


def counted(last: int) -> Iterator[int]:
    yield from range(last)


def lost_on_the_way(last: int) -> Iterator[int]:
    for n in range(last):
        if n == last // 2 and multiprocessing.parent_process():
            os.kill(os.getpid(), signal.SIGKILL)
        yield n


def notices_ctrl_c(_: int) -> Iterator[bool]:
    yield signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def wrong_in_the_end(last: int) -> Iterator[int]:
    yield from range(last)
    raise ValueError("the last line")


def test_a_long_table_reads_the_same_from_a_second_process(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = everything(table)
    monkeypatch.setattr(file, "_LONG_BYTES", 0)
    monkeypatch.setattr(file, "there_are_two_cores", lambda: True)
    assert everything(table) == alone
    assert sum(len(bad) for _, bad, _ in alone) == 61


def test_everything_comes_once_and_in_order() -> None:
    assert list(read_ahead(counted, 1000)) == list(range(1000))


def test_what_a_lost_process_did_not_read_is_read_here() -> None:
    assert list(read_ahead(lost_on_the_way, 1000)) == list(range(1000))


def test_what_goes_wrong_there_is_raised_here_and_after_all_that_was_right() -> None:
    come: list[int] = []
    with pytest.raises(ValueError, match="the last line"):
        come.extend(read_ahead(wrong_in_the_end, 10))
    assert come == list(range(10))


def test_ctrl_c_is_for_the_first_process_alone() -> None:
    assert next(read_ahead(notices_ctrl_c, 0)) is False


def test_it_ends_when_the_reader_closes() -> None:
    reading = read_ahead(counted, 1_000_000)
    assert next(reading) == 0
    (child,) = multiprocessing.active_children()
    reading.close()  # type: ignore[attr-defined]
    assert child.exitcode is not None


@pytest.mark.parametrize("safe_path", ["", "1"])
def test_no_module_of_the_working_folder_runs_in_it(tmp_path: Path, safe_path: str) -> None:
    """With -c, as multiprocessing uses it, Python puts the working folder first on the path."""
    hostile = tmp_path / "archive"
    hostile.mkdir()
    for name in ("multiprocessing", "refundcli", "pickle"):
        (hostile / f"{name}.py").write_text("open('was-run', 'w').close()\n")
    program = tmp_path / "program.py"
    program.write_text(
        "import os\nfrom refundcli.files.reader_process import read_ahead\n"
        "if __name__ == '__main__':\n"
        "    assert list(read_ahead(iter, (1, 2, 3))) == [1, 2, 3]\n"
        f"    assert os.environ.get('PYTHONSAFEPATH', '') == {safe_path!r}\n"
    )
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    environ |= {"PYTHONSAFEPATH": safe_path} if safe_path else {}
    subprocess.run([sys.executable, str(program)], cwd=hostile, env=environ, check=True)
    assert not (hostile / "was-run").exists()
