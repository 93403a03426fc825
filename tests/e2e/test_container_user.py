"""As in a container: a user id without a name or a home, no terminal, LC_ALL=C, and one writable folder.

Every command of the demo works, or says what it needs.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from refundcli.sandbox.testing import RunningSandbox

ROOT = Path(__file__).parents[2]
NOBODY = 12345
_RUN = re.compile(r'^run (\d+) "([^"]+)"(?: "([^"]+)")?$', re.MULTILINE)

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user"
)


def commands_of_the_demo() -> list[tuple[int, str, str]]:
    """Each as (exit code, command, answer at the terminal)."""
    matches = _RUN.findall((ROOT / "examples" / "demo.sh").read_text(encoding="utf-8"))
    assert len(matches) > 30
    return [(int(code), command, answer) for code, command, answer in matches]


# The program's folder must be readable for any user, and writable for none.
AS_NOBODY = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--inh-caps=-all,+dac_read_search",
    "--ambient-caps=-all,+dac_read_search",
)


def may_become_another_user() -> bool:
    attempt = shutil.which("setpriv") and subprocess.run([*AS_NOBODY, sys.executable, "-c", "import refundcli"], env={})
    return bool(attempt and attempt.returncode == 0)


@dataclass
class Container:
    """A shell with only the given environment."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __call__(self, command: str, *, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        program = f'"{sys.executable}" -P -m refundcli' if command.startswith("refundcli") else ""
        return subprocess.run(
            [*AS_NOBODY, "/bin/sh", "-c", command.replace("refundcli", program, 1) if program else command],
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", **self.environ},
            cwd=self.folder,
            input=stdin,
            umask=0o022,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )


@pytest.fixture
def container() -> Iterator[Container]:
    if not may_become_another_user():
        pytest.skip("this machine does not let root become another user")
    folder = Path(tempfile.mkdtemp(prefix="refundcli-nobody-", dir="/tmp"))
    for name in ("invoices.csv", "transfers.csv"):
        shutil.copy(ROOT / "examples" / name, folder / name)
    for path in (folder, *folder.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    yield Container(folder, {"STRIPE_API_KEY": "sk_test_demo", "ADYEN_API_KEY": "demo"})
    shutil.rmtree(folder)


@pytest.fixture
def seeded() -> Iterator[RunningSandbox]:
    from refundcli.sandbox.core.seed import seed_file
    from refundcli.sandbox.core.state import SandboxState

    state = SandboxState()
    seed_file(state, ROOT / "examples" / "invoices.csv")
    with RunningSandbox(state=state) as sandbox:
        yield sandbox


def assert_said(ended: "subprocess.CompletedProcess[str]", command: str) -> None:
    assert "bug in refundcli" not in ended.stderr, (command, ended.stderr)
    assert "Traceback" not in ended.stderr, (command, ended.stderr)
    assert ended.returncode != 1, (command, ended)


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_every_command_of_the_demo_works(container: Container, seeded: RunningSandbox) -> None:
    process = container(f"refundcli --store sqlite:///books.db init --sandbox {seeded.url}")
    assert_said(process, "init")
    assert process.returncode == 0, process.stderr
    # Without a home the settings file must be named: init says how.
    (named,) = re.findall(r"export (REFUNDCLI_CONFIG)=(\S+)", process.stderr)
    container.environ |= dict([named])
    for code, command, answer in commands_of_the_demo():
        if " init " in command:
            continue
        if command.startswith("cat "):
            assert container(command).returncode == 0
            continue
        if "refund INV-1003" in command and code == 8:
            seeded.faults("drop_after")
        if answer and code == 3:
            command += f" --confirm '{answer}'"
        elif answer or "--from" in command:
            # At a terminal, a finished file prompts for nothing.
            command += " --yes"
        ended = container(command)
        assert_said(ended, command)
        assert ended.returncode == code, (command, ended)


def test_without_a_store_setting_the_hint_says_how_to_set_one(container: Container) -> None:
    # One of each kind: refund, mark-refunded, invoice list …
    kinds = {command.split()[1]: command for _, command, _ in commands_of_the_demo() if command.startswith("refundcli")}
    for command in kinds.values():
        if " init " in command:
            continue
        ended = container(command + (" --yes" if command.startswith(("refundcli void", "refundcli mark")) else ""))
        assert_said(ended, command)
        assert ended.returncode == 4, (command, ended)
        assert "[store-not-named]" in ended.stderr, (command, ended)
    assert [path.name for path in container.folder.iterdir() if path.name.startswith(("~", "."))] == []


def test_a_file_in_a_home_that_does_not_exist_is_not_settings(container: Container) -> None:
    for folder in ("~/.config/refundcli", ".config/refundcli"):
        path = container.folder / folder / "refundcli.toml"
        path.parent.mkdir(parents=True)
        path.write_text("[store]\nurl = 'sqlite:////tmp/theirs.db'\n")
        path.chmod(0o644)
        os.chown(path, NOBODY, NOBODY)
    ended = container("refundcli status")
    assert "[store-not-named]" in ended.stderr, ended


@pytest.mark.parametrize("home", ["/", "/nonexistent", ""])
def test_a_home_that_cannot_be_written_to_explains_itself(container: Container, home: str) -> None:
    container.environ["HOME"] = home
    ended = container("refundcli invoice import invoices.csv")
    assert_said(ended, "import")
    assert ended.returncode == 4
    assert "--store" in ended.stderr
    process = container("refundcli --store sqlite:///books.db init")
    assert (process.returncode, "REFUNDCLI_CONFIG=" in process.stderr) == (0, True), process


def test_where_no_folder_takes_temporary_files_that_is_said(container: Container, seeded: RunningSandbox) -> None:
    """A read-only root, including /tmp and the working folder."""
    container.environ |= {
        "REFUNDCLI_STORE_URL": f"sqlite:///{container.folder}/books.db",
        "REFUNDCLI_STRIPE_API_BASE": seeded.url,
        "REFUNDCLI_STRIPE_API_KEY": "env:STRIPE_API_KEY",
    }
    without_tmp = (
        "unshare -m /bin/sh -c 'mount --bind -o ro /tmp /tmp && mount -o remount,bind,ro /tmp && "
        "for d in /var/tmp /usr/tmp /dev/shm; do [ -d $d ] && mount --bind $d $d && mount -o remount,bind,ro $d; done; "
        f"mkdir -p {container.folder}; mount -t tmpfs -o mode=777 none {container.folder} && cd / && "
        f"exec {' '.join(AS_NOBODY)} "
        f'env -i PATH=/usr/bin:/bin LC_ALL=C {{}} "{sys.executable}" -P -m refundcli {{}}\''
    )
    settings = " ".join(f"{name}={value}" for name, value in container.environ.items())
    files = ROOT / "examples"
    for command, code in [
        (f"invoice import {files}/invoices.csv", 4),
        (f"mark-refunded --from {files}/transfers.csv --yes", 4),
        (f"refund --from {files}/refunds.csv --yes", 4),
    ]:
        ended = subprocess.run(
            ["/bin/sh", "-c", without_tmp.format(settings, command)], capture_output=True, text=True, check=False
        )
        if "unshare" in ended.stderr or "mount" in ended.stderr:
            pytest.skip("this machine lets nobody make a mount of its own")
        assert_said(ended, command)
        assert ended.returncode == code, ended
        # A file of refunds may look for its store, of which there is none, before it spools.
        missing_store = "[no-store]" in ended.stderr and not command.startswith("invoice import")
        assert missing_store or "[no-temporary-folder]" in ended.stderr, ended
