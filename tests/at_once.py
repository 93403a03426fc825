"""Commands that start at the same moment, each in a process forked from one that has the program loaded."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from pathlib import Path

from desk import Desk
from faults.processes import forked
from refundcli.cli.main import COMMANDS, run

# Modules that commands import lazily.
_LATER = (
    *("refundcli.bootstrap", "refundcli.store.unit_of_work", "refundcli.providers.registry"),
    *(
        "refundcli.providers.stripe.refunds",
        "refundcli.providers.adyen.refunds",
        "refundcli.output.serializers",
        "psycopg",
    ),
)


def all_at_once(desk: Desk, commands: Sequence[Sequence[str]]) -> list[tuple[int, str, str]]:
    """The exit code, stdout and stderr of each, run by a process with one thread."""
    environ = {**os.environ, **desk.environ, "PYTHONPATH": str(Path(__file__).parent)}
    ended = subprocess.run(
        [sys.executable, "-m", "at_once"],
        env=environ | {"REFUNDCLI_REFUNDS_READ_TIMEOUT": "60"},
        input=json.dumps(commands),
        stdout=subprocess.PIPE,
        text=True,
        timeout=150,
        check=True,
    )
    return [(code, out, err) for code, out, err in json.loads(ended.stdout)]


def main() -> None:
    for module in (*_LATER, *(f"refundcli.cli.commands.{module}" for module, _ in COMMANDS.values())):
        import_module(module)
    commands = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        pids = [forked(partial(_play, command, folder / str(at))) for at, command in enumerate(commands)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        said = [[(folder / f"{at}.{name}").read_text() for name in ("out", "err")] for at in range(len(commands))]
    json.dump([(code, *texts) for code, texts in zip(codes, said, strict=True)], sys.stdout)


def _play(command: Sequence[str], path: Path) -> int:
    with (
        path.with_suffix(".out").open("w") as out,
        path.with_suffix(".err").open("w") as err,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        return int(run([*command, "-o", "json"]))


if __name__ == "__main__":
    main()
