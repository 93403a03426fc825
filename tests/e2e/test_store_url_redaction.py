"""No password is ever shown, whatever the form of the store's address and whatever fails."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import make_url

from desk import Desk

PASSWORD = "tr0ub4dor-Zq7"
# Characters that need encoding in a URL; neither form may be shown.
ODD = "p@ss:w/rd?Zq7"
COMMANDS = [
    "status",
    "config",
    "store backup",
    "store upgrade",
    "store check",
    "invoice list -o json",
    "status -o json",
]

Form = Callable[[str, str], str]


def plain(where: str, options: str) -> str:
    return f"postgresql://postgres:{PASSWORD}@/{where}?{options}"


def encoded(where: str, options: str) -> str:
    return f"postgresql://postgres:{quote(ODD, safe='')}@/{where}?{options}"


def as_option(where: str, options: str) -> str:
    return f"postgresql:///{where}?{options}&user=postgres&password={PASSWORD}"


def as_encoded_option(where: str, options: str) -> str:
    return f"postgresql://postgres@/{where}?pass%77ord={PASSWORD}&{options}"


def of_the_certificate(where: str, options: str) -> str:
    return f"postgresql://postgres:{PASSWORD}@/{where}?sslpassword={PASSWORD}2&{options}"


def several_hosts(where: str, options: str) -> str:
    return f"postgresql://postgres:{PASSWORD}@/{where}?{options}&host=/none&password={PASSWORD}"


def unknown_option(where: str, options: str) -> str:
    return f"postgresql://postgres@/{where}?passwrd={PASSWORD}&{options}"


def unencoded(where: str, options: str) -> str:
    return f"postgresql://postgres:x@{PASSWORD}@/{where}?{options}"


def nested(where: str, options: str) -> str:
    inner = quote(f"postgresql://postgres:{PASSWORD}@/{where}", safe="")
    return f"postgresql:///{inner}?{options}"


def out_of_reach(where: str, options: str) -> str:
    return f"postgresql://postgres:{PASSWORD}@/{where}?host=/none/{PASSWORD}"


FORMS = [
    plain,
    encoded,
    as_option,
    as_encoded_option,
    of_the_certificate,
    several_hosts,
    unknown_option,
    unencoded,
    nested,
    out_of_reach,
]


@pytest.fixture
def new_store(new_postgres: object) -> object:
    return new_postgres


@pytest.fixture
def address(desk: Desk) -> tuple[str, str]:
    url = make_url(desk.url)
    host = url.query["host"]
    return str(url.database), f"host={quote(host if isinstance(host, str) else host[0], safe='')}"


def assert_no_secret(*texts: str) -> None:
    for text in texts:
        for secret in (PASSWORD, ODD, quote(ODD, safe=""), ODD.split("@")[1]):
            assert secret not in text, text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["option", "environment", "file"])
def test_no_command_shows_a_password(desk: Desk, address: tuple[str, str], form: Form, place: str) -> None:
    url = form(*address)
    before = ""
    if place == "environment":
        desk.environ["REFUNDCLI_STORE_URL"] = url
    else:
        del desk.environ["REFUNDCLI_STORE_URL"]
    if place == "file":
        Path("mine.toml").write_text(f'[store]\nurl = "{url}"\n')
        Path("mine.toml").chmod(0o600)
        before = "--config mine.toml "
    elif place == "option":
        before = f"--store '{url}' "
    for command in COMMANDS:
        for debug in ("", "--debug "):
            answer = desk(f"{before}{debug}{command}")
            assert answer.exit_code in (0, 2, 4), (command, answer)
            assert_no_secret(answer.out, answer.err)


@pytest.mark.parametrize("form", [plain, encoded, as_option, as_encoded_option, of_the_certificate])
def test_the_address_that_is_shown_still_says_where_the_store_is(
    desk: Desk, address: tuple[str, str], form: Form
) -> None:
    desk.environ["REFUNDCLI_STORE_URL"] = form(*address)
    url = desk.json("status")["store"]["url"]
    assert address[0] in url
    assert "•••" in url
    assert {row["setting"]: row["value"] for row in desk.json("config")}["store.url"].startswith("postgresql://")


def test_init_writes_the_address_and_does_not_show_it(desk: Desk, address: tuple[str, str]) -> None:
    url = as_option(*address)
    answer = desk(f"--store '{url}' init -o json")
    assert answer.exit_code == 0
    assert_no_secret(answer.out, answer.err)
    assert url in Path("refundcli.toml").read_text()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("debug", ["", "--debug "])
def test_a_bug_shows_no_password_nor_a_key(
    desk: Desk, address: tuple[str, str], form: Form, debug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = form(*address)

    def fail(*_: object) -> None:
        try:
            raise ValueError(f"cannot connect to {url} as {PASSWORD!r}, {ODD!r}")
        except ValueError as cause:
            raise ZeroDivisionError(ODD, url) from cause

    monkeypatch.setattr("refundcli.bootstrap.Services.describe_store", fail)
    monkeypatch.setattr("refundcli.services.queries.status.current_status", fail)
    desk.environ["PGPASSWORD"] = ODD
    desk.environ["STRIPE_API_KEY"] = "sk_test_veryhidden"
    desk.environ["REFUNDCLI_STORE_URL"] = url
    answer = desk(f"{debug}status")
    assert answer.exit_code in (1, 4)
    assert_no_secret(answer.out, answer.err)


@pytest.mark.parametrize("options", ["--stroe '{}' status", "status '{}'", "--store='{}' statsu", "invoice show '{}'"])
def test_a_mistake_on_the_command_line_repeats_no_password(desk: Desk, address: tuple[str, str], options: str) -> None:
    for form in FORMS:
        for after in ("", " -o json"):
            answer = desk(options.format(form(*address)) + after)
            assert answer.exit_code in (2, 4, 5), answer
            assert_no_secret(answer.out, answer.err)


@pytest.mark.parametrize("kind", ["PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE"])
def test_a_password_from_another_source_is_not_shown(desk: Desk, address: tuple[str, str], kind: str) -> None:
    database, options = address
    secret_file = desk.folder / "secret"
    content = f"[books]\nuser=postgres\npassword={PASSWORD}\n" if kind == "PGSERVICEFILE" else f"*:*:*:*:{PASSWORD}\n"
    secret_file.write_text(content)
    secret_file.chmod(0o600)
    desk.environ[kind] = PASSWORD if kind == "PGPASSWORD" else str(secret_file)
    service = "&service=books" if kind == "PGSERVICEFILE" else ""
    for host in (options, "host=/none"):
        desk.environ["REFUNDCLI_STORE_URL"] = f"postgresql://postgres@/{database}?{host}{service}"
        for command in COMMANDS:
            for debug in ("", "--debug "):
                answer = desk(f"{debug}{command}")
                assert answer.exit_code in (0, 2, 4), (command, answer)
                assert_no_secret(answer.out, answer.err)
