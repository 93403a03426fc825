"""Who holds a lease, and when the holder is proved gone."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from refundcli.system import processes
from refundcli.system.processes import ProcessName, is_gone, process_named, this_process


@contextmanager
def another_process(code: str = "input()") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A waiting process and its own name for itself."""
    script = f"from refundcli.system.processes import this_process; print(this_process(), flush=True); {code}"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        yield running, running.stdout.readline().strip()
        running.kill()


def test_a_process_names_its_host_machine_pid_and_start() -> None:
    me = process_named(this_process())
    assert (me.host, me.pid) == (socket.gethostname(), str(os.getpid()))
    assert me.machine
    assert me.started.isdecimal()
    assert str(me) == this_process()


def test_a_living_process_is_not_gone_and_a_killed_one_is() -> None:
    with another_process() as (running, name):
        assert not is_gone(name)
        running.kill()
        running.wait()
        assert is_gone(name)


def test_a_zombie_process_is_gone() -> None:
    with another_process() as (running, name):
        os.kill(running.pid, signal.SIGKILL)
        os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(name)


def test_a_pid_that_is_used_again_is_another_process() -> None:
    assert is_gone(str(replace(process_named(this_process()), started="1")))


def test_another_machine_with_the_same_name_cannot_be_proved_gone() -> None:
    me = process_named(this_process())
    boot, namespace = me.machine.split("/")
    for machine in (f"another-{boot}/{namespace}", f"{boot}/1{namespace}"):
        assert not is_gone(str(replace(me, machine=machine, pid="999999999")))


def test_a_lease_in_the_older_form_is_another_machine_s() -> None:
    old = f"{socket.gethostname()}|999999999|12345"
    assert not is_gone(old)
    assert process_named(old) == ProcessName(socket.gethostname(), "", "999999999", "12345")
    assert process_named(old).shown == f"{socket.gethostname()} (process 999999999)"
    assert not is_gone("")


def test_a_host_name_with_the_separator_does_not_shift_the_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "a|b")
    assert process_named(this_process()).host == "a_b"
    assert not is_gone(this_process())


def test_without_a_machine_id_each_process_has_a_name_and_none_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processes, "_BOOT_ID", tmp_path / "missing")
    mine = this_process()
    assert this_process() == mine
    assert len(process_named(mine).started) == 32
    assert not is_gone(mine)
    assert not is_gone(str(replace(process_named(mine), pid="999999999")))


def test_processes_of_another_pid_namespace_are_another_machine_s() -> None:
    unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow pid namespaces")
    script = "from refundcli.system.processes import this_process; print(this_process())"
    names = [
        subprocess.run([*unshare, sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    inside = [process_named(name.strip()) for name in names]
    assert [holder.pid for holder in inside] == ["1", "1"]
    assert {holder.host for holder in inside} == {socket.gethostname()}
    assert not any(is_gone(name.strip()) for name in names)
    assert process_named(this_process()).machine not in {holder.machine for holder in inside}


def test_a_proc_of_another_namespace_proves_nothing() -> None:
    unshare = ["unshare", "--pid", "--fork"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow pid namespaces")
    script = "from refundcli.system import processes; print(processes.process_named(processes.this_process()).machine)"
    inside = subprocess.run([*unshare, sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert inside.stdout.strip() == ""
