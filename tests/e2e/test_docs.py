"""README and docs match the program: commands, options, codes, columns, settings, quoted output."""

import importlib
import io
import json
import os
import pkgutil
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import typer

import refundcli
from desk import MERCHANT, Desk
from leaves import LEAVES
from refundcli.cli.exit_codes import ALWAYS, ENDINGS, OF_FAMILY, ExitCode
from refundcli.cli.main import COMMANDS, cli
from refundcli.domain.bulk_run import RunKind
from refundcli.domain.errors import Family, RefundcliError
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refusals import PRECEDENCE, RuleRefusal
from refundcli.files.bulk import file
from refundcli.files.csv_table import REJECTION_COLUMNS
from refundcli.files.invoices import rows as invoice_rows
from refundcli.files.saved_deliveries import DeliveryFile
from refundcli.files.source import open_source
from refundcli.sandbox.core.seed import seed_file
from refundcli.sandbox.testing import RunningSandbox
from refundcli.settings import load

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# In messages.md every word that the program fills in is a placeholder.
PAGES = [
    page for page in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))) if page.name != "messages.md"
]
GUIDE = ROOT / "docs" / "guide.md"
ERRORS = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
FILES = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")

_FENCED = re.compile(r"^```.*?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
# `domain/money.py`, `cli/commands/`, `tests/data/`.
_PLACE = re.compile(r"[a-z_]+/(?:[a-z_/0-9]+(?:\.[a-z.]+)?)?|[a-z_]+\.(?:py|toml|example|md)")
SOURCE = ROOT / "src" / "refundcli"
PAGES_OF_PLACES = [
    ROOT / "CONTRIBUTING.md",
    ROOT / "docs" / "architecture.md",
    ROOT / "docs" / "reliability.md",
    *sorted((ROOT / "docs" / "adr").glob("0*.md")),
]
# Made anew in each run.
_IDS = re.compile(r"\b(re_\w+|CN-\d{4}-\d{6}|rf_\w+)")
# Two places that find the same problem.
SAME_MEANING = {
    *("evidence-needed", "api-base-when-live", "refund-not-found", "possible-duplicate", "changed-meanwhile"),
    # Of a refund, and of a closing.
    *("outcome-unknown", "provider-declined", "not-sent"),
    # Of a refund, and of an invoice with a loss.
    "nothing-to-acknowledge",
}


# --- Commands ---


def commands_of(page: Path) -> Iterator[str]:
    """Every `refundcli …` in code: a line of a block, or a span in a sentence."""
    text = page.read_text(encoding="utf-8")
    for block in _FENCED.findall(text):
        yield from lines_with_a_command(block)
    text = _FENCED.sub("", text)
    yield from lines_with_a_command("\n".join(line for line in text.splitlines() if line.startswith("    ")))
    yield from (span for span in _SPAN.findall(text) if span.startswith("refundcli "))


def lines_with_a_command(block: str) -> Iterator[str]:
    for line in block.splitlines():
        words = line.strip().removeprefix("$ ")
        if words.startswith("refundcli "):
            yield words


def unknown_in(command: str) -> str:
    """The first word that names no command or option; nothing when all do."""
    at: Any = typer.main.get_command(cli)
    words = iter(shlex.split(command.partition("   ")[0], comments=True)[1:])
    for word in words:
        if word in ("|", ">", "&"):
            break
        if word.startswith("-") and word != "-":
            name, _, value = word.partition("=")
            option = next((param for param in at.params if name in (*param.opts, *param.secondary_opts)), None)
            if option is None and name not in ("--help", "-h"):
                return f"{name} of {command!r}"
            if option is not None and not option.is_flag and not value:
                next(words, None)
        elif hasattr(at, "get_command"):
            at = at.get_command(None, word)
            if at is None:
                return f"{word} of {command!r}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_a_page_is_one_that_exists(page: Path) -> None:
    assert [unknown for command in commands_of(page) if (unknown := unknown_in(command))] == []


def test_the_readme_and_the_guide_are_read_for_commands() -> None:
    assert len(list(commands_of(ROOT / "README.md"))) > 10
    assert len(list(commands_of(GUIDE))) > 30
    assert unknown_in("refundcli invoice shw INV-1")
    assert unknown_in("refundcli refund INV-1 --ful")


@pytest.mark.parametrize("name", LEAVES)
def test_each_command_says_what_it_does_and_gives_an_example_that_exists(name: str) -> None:
    command = LEAVES[name]
    assert command.help
    _, _, listed = command.epilog.partition(":")
    examples = [example.strip() for example in listed.split("·")]
    assert examples[0].startswith(("refundcli", "cat "))
    whole = [example[example.index("refundcli") :] for example in examples if "refundcli" in example]
    assert [unknown for example in whole if (unknown := unknown_in(example))] == []
    assert all(name in example for example in whole), whole


# --- Tables ---


def table_under(heading: str, text: str = README) -> list[list[str]]:
    """The cells of the first table after this text, without the header."""
    lines = text[text.index(heading) :].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return rows[2:]


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) < 170


def test_the_readme_lists_the_commands_as_help_does() -> None:
    assert table_under("## Commands") == [[name, summary] for name, (_, summary) in COMMANDS.items()]


def test_the_page_of_errors_lists_the_exit_codes() -> None:
    assert [int(row[0]) for row in table_under("## Exit codes", ERRORS)] == [code.value for code in ExitCode]
    assert set(OF_FAMILY.values()) < set(ExitCode)


def test_the_page_of_errors_lists_the_exit_codes_of_each_command() -> None:
    text = ERRORS[ERRORS.index("Any command may end with") :]
    assert {int(code) for code in re.findall(r"\d+", text.partition("Besides")[0])} == {*ALWAYS}
    rows = table_under("Any command may end with", ERRORS)
    listed = {name: frozenset(map(int, codes.split(", "))) for name, codes in rows}
    assert listed == {name: codes for name, codes in ENDINGS.items() if codes}


def test_each_command_has_its_exit_codes_in_the_table() -> None:
    assert list(ENDINGS) == list(LEAVES)
    assert all(ALWAYS.isdisjoint(codes) for codes in ENDINGS.values())


def test_the_page_of_errors_lists_the_refusals_in_their_order() -> None:
    rules = {kind.code: kind.rule for kind in RuleRefusal.__subclasses__()}
    listed = {row[0]: row[1].split(", ") for row in table_under("## Refusals", ERRORS)}
    assert list(listed) == [code for code in PRECEDENCE if code in rules]
    assert [code for code, rule in rules.items() if rule not in listed[code]] == []


@pytest.mark.parametrize("family", Family)
def test_the_page_of_errors_lists_every_code_under_its_exit_code(family: Family) -> None:
    listed = {row[0] for row in table_under(f"### Exit {OF_FAMILY[family].value}: ", ERRORS)}
    if family is Family.REFUSED:
        listed |= {row[0] for row in table_under("## Refusals", ERRORS)}
    kinds = [kind for kind in error_kinds() if kind.family is family]
    assert {kind.code for kind in kinds if not kind.__subclasses__()} - listed == set()
    assert listed - {kind.code for kind in kinds} == set()


@pytest.mark.parametrize(
    ("heading", "columns", "required"),
    [
        ("## Invoices", invoice_rows.COLUMNS, invoice_rows.REQUIRED),
        ("## Refunds to record", file.COLUMNS[RunKind.MARK_REFUNDED], file.REQUIRED),
        ("## Refunds to send", file.COLUMNS[RunKind.REFUND], file.REQUIRED),
    ],
)
def test_the_page_of_files_lists_the_columns_of_each_file(
    heading: str, columns: tuple[str, ...], required: tuple[str, ...]
) -> None:
    rows = table_under(heading, FILES)
    assert tuple(row[0] for row in rows) == columns
    assert {row[0] for row in rows if row[1].startswith("Required")} == set(required)


def test_the_page_of_files_lists_the_columns_of_rejected_rows_and_of_payments() -> None:
    assert tuple(row[0] for row in table_under("## Rejected rows", FILES)) == REJECTION_COLUMNS
    _, _, keys = FILES.partition("objects with the keys")
    assert tuple(_SPAN.findall(keys.partition(". ")[0])) == invoice_rows.PAYMENT_COLUMNS


def test_the_readme_names_the_eight_reasons() -> None:
    _, _, reasons = README.partition("The reason is one of eight:")
    assert _SPAN.findall(reasons.partition(".")[0]) == [reason.value for reason in RefundReason]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_finds_it(page: Path) -> None:
    targets = re.findall(r"\]\(([^):]+)\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not leads_somewhere(page, target)] == []


def leads_somewhere(page: Path, target: str) -> bool:
    """A file that exists and, after `#`, one of its headings."""
    name, _, anchor = target.partition("#")
    file = page.parent / name if name else page
    if not file.exists():
        return False
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
    return not anchor or anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES_OF_PLACES, ids=lambda page: page.name)
def test_every_place_that_a_page_names_exists(page: Path) -> None:
    places = [span for span in _SPAN.findall(page.read_text(encoding="utf-8")) if _PLACE.fullmatch(span)]
    assert len(places) > 1
    assert [place for place in places if not any((folder / place).exists() for folder in (SOURCE, ROOT))] == []


# --- Settings, dependencies, error codes ---


def test_the_example_settings_load_and_name_every_key(tmp_path: Path) -> None:
    example = tmp_path / "refundcli.toml"
    shutil.copyfile(ROOT / "refundcli.toml.example", example)
    example.chmod(0o600)
    loaded = load(config=example, store_url=None, environ={}, cwd=tmp_path, user_config=tmp_path / "none")
    assert [name for name, _, origin in loaded.rows() if origin != str(example)] == []


def test_the_page_of_dependencies_names_those_of_pyproject_and_no_others() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = pyproject["project"]
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    extras = {extra: names_of(needed) for extra, needed in project["optional-dependencies"].items()}
    assert [row[0] for row in table_under("## To run", page)] == names_of(project["dependencies"])
    assert [row[:2] for row in table_under("## Extras", page)] == [
        [n, extra] for extra in extras for n in extras[extra]
    ]
    assert [row[0] for row in table_under("## To build", page)] == names_of(pyproject["build-system"]["requires"])
    assert [row[0] for row in table_under("## To develop", page)] == names_of(pyproject["dependency-groups"]["dev"])
    assert all(row[-1].endswith(".") for heading in ("run", "build", "develop") for row in table_under(heading, page))


def names_of(requirements: list[str]) -> list[str]:
    return [re.split(r"[<>=\[; ]", requirement)[0] for requirement in requirements]


def test_an_error_code_means_one_thing() -> None:
    kinds = error_kinds()
    assert len(kinds) > 50
    by_code = defaultdict(list)
    for kind in kinds:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", kind.code), kind
        assert kind.__subclasses__() or "code" in vars(kind), f"{kind} has no code of its own"
        if not kind.__subclasses__():
            by_code[kind.code].append(kind)
    shared = {code: families for code, families in by_code.items() if len(families) > 1}
    assert set(shared) == SAME_MEANING
    assert all(len({kind.family for kind in families}) == 1 for families in shared.values())


def error_kinds() -> list[type[RefundcliError]]:
    """Every error class of the program."""
    for module in pkgutil.walk_packages(refundcli.__path__, "refundcli."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    kinds: list[type[RefundcliError]] = []
    waiting = list(RefundcliError.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        # A class may inherit from two others.
        if kind.__module__.startswith("refundcli.") and kind not in kinds:
            kinds.append(kind)
    return kinds


# --- Quoted output ---


def quoted(page: str, *, in_json: bool) -> Iterator[tuple[str, str]]:
    """Each command that the page shows with its output."""
    for block in _FENCED.findall(page):
        command, _, output = block.partition("\n")
        if command.startswith("$ ") and command.endswith("-o json") is in_json:
            yield command, output


def test_the_pages_quote_the_json_that_scripts_get(desk: Desk) -> None:
    desk.paid_by_card("INV-1001", "120.00 EUR")
    desk("refund INV-1001 --amount 30 --reason overcharged --yes")
    ((refund, error),) = quoted(ERRORS, in_json=True)
    ((show, invoice),) = quoted(GUIDE.read_text(encoding="utf-8"), in_json=True)
    assert refund.startswith("$ refundcli refund")
    assert show.startswith("$ refundcli invoice show")
    assert json.loads(error)["error"] == desk("refund INV-1001 --amount 100.00 --reason duplicate --yes -o json").error
    start, _, rest = invoice.partition("  …\n")
    whole = desk("invoice show INV-1001 -o json").out
    assert whole.startswith(start)
    assert rest in whole


@pytest.mark.timeout(300)
def test_the_demo_ends_well_leaves_nothing_and_shows_what_the_readme_quotes(tmp_path: Path) -> None:
    folder = tmp_path / "desks"
    folder.mkdir()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    demo = subprocess.run(
        ["bash", ROOT / "examples" / "demo.sh"],
        env=os.environ
        | {"TMPDIR": str(folder), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert demo.returncode == 0, demo.stdout[-2000:] + demo.stderr
    assert demo.stderr == ""
    assert list(folder.iterdir()) == []
    assert processes_that_know(str(folder)) == []
    # Processor time, so that a busy machine does not fail the test.
    assert after.ru_utime - before.ru_utime < 60
    transcript = without_ids(demo.stdout)
    blocks = list(quoted(README, in_json=False))
    assert len(blocks) >= 5
    for command, output in blocks:
        assert without_ids(f"{command}\n{output}") in transcript, (
            f"README.md: quote anew what examples/demo.sh shows for {command}"
        )


def without_ids(text: str) -> str:
    return "\n".join(_IDS.sub("ID", line).rstrip() for line in text.splitlines())


def processes_that_know(word: str) -> list[str]:
    """Processes with this text in their environment, where the system shows it."""
    commands = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (process / "environ").read_bytes():
                commands.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return commands


# --- The practice providers ---


def test_each_thing_that_the_sandbox_can_be_made_to_do_is_done(tmp_path: Path) -> None:
    rows = table_under("| POST", (ROOT / "docs" / "sandbox.md").read_text(encoding="utf-8"))
    report = ""
    with RunningSandbox(merchant_account=MERCHANT) as sandbox:
        seed_file(sandbox.state, ROOT / "examples" / "invoices.csv")
        for path, body, _ in rows:
            answer = requests.post(sandbox.url + path.replace("REFUND", report), data=body, timeout=10)
            assert answer.status_code == 200, (path, answer.text)
            report = (answer.json() or {}).get("id", report) if path == "/_sandbox/refunds" else report
        for path in ("state", "deliveries?provider=adyen", "reports/payment-accounting.csv"):
            assert requests.get(f"{sandbox.url}/_sandbox/{path}", timeout=10).ok
        waiting = requests.get(f"{sandbox.url}/_sandbox/deliveries?provider=adyen", timeout=10)
    copy = tmp_path / "deliveries.json"
    copy.write_text(waiting.text)
    with open_source(str(copy), io.BytesIO()) as source:
        deliveries = list(DeliveryFile(source, None).deliveries())
    assert len(deliveries) > 3
    assert [delivery.why_not for delivery in deliveries if delivery.why_not] == []
