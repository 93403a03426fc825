"""init: write the settings file and create the store."""

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import checked

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.settings import Settings, Tables

group = typer.Typer(rich_markup_mode=None, add_completion=False)

_MERCHANT_AT_SANDBOX = "SandboxMerchant"


@group.command(
    epilog="Examples:  refundcli init   ·   refundcli --store sqlite:///books.db init   ·   "
    "refundcli init --sandbox http://127.0.0.1:4242"
)
def init(
    ctx: typer.Context,
    sandbox: Annotated[
        str, typer.Option("--sandbox", metavar="URL", help="Use the sandbox at this address for both providers.")
    ] = "",
    merchant_account: Annotated[
        str, typer.Option("--merchant-account", metavar="NAME", help="The Adyen merchant account.")
    ] = "",
    timezone: Annotated[
        str,
        typer.Option(
            "--timezone",
            metavar="ZONE",
            help="Time zone that decides the date of each entry in the books. Default: yours.",
        ),
    ] = "",
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Write an existing settings file anew: it is backed up, and keeps what is not given.",
        ),
    ] = False,
) -> None:
    """Write refundcli.toml here, or where --config says, and create the store."""
    from refundcli.cli.context import current_folder
    from refundcli.secrets import shown_address
    from refundcli.settings import checks, default_user_config, load, write

    app: App = ctx.obj
    if timezone:
        timezone = checked("--timezone", checks.timezone, timezone)
    folder = current_folder()
    path = app.config or Path("refundcli.toml")
    # The existing file is not loaded: it is about to be refused or replaced.
    current_settings = load(
        config=None,
        store_url=app.store,
        environ=app.environ,
        cwd=folder,
        user_config=default_user_config(),
        reads_folder=False,
    ).settings
    merchant_name = merchant_account or (
        _MERCHANT_AT_SANDBOX if sandbox else current_settings.adyen.merchant_account or ""
    )
    is_of_folder = app.config is None and folder != default_user_config()
    replaces_file = os.path.lexists(folder / path)
    old_tables = (
        _backed_up(app, folder / path, current_settings, needs_trust=is_of_folder) if replaces_file and force else {}
    )
    defaults = _values(current_settings, sandbox_url=sandbox, merchant_name=merchant_name)
    given = _given(app.store and current_settings.store.url, sandbox, merchant_account)
    content = write(path, _merged(defaults, old_tables, given), force=force)
    _trust(app, folder / path, content)
    app.config = path
    if timezone:
        app.services.timezone = timezone
    app.services.books.write(lambda tx: None)
    if app.for_people:
        _show_created(app, path, sandbox_url=sandbox, replaces_file=replaces_file)
    else:
        from refundcli.output.serializers.setup import new_store

        zone = str(app.services.books.zone)
        app.show_object(new_store(str(path), shown_address(app.settings.store.url), zone))
    if is_of_folder:
        app.note(f"  {path} is trusted as it is now. After you edit it: refundcli config trust")


def _backed_up(app: "App", path: Path, current_settings: "Settings", *, needs_trust: bool) -> "Tables":
    """Copy the existing file, and return what it says, as far as it may be used."""
    from refundcli.settings import back_up, default_user_config, usable_tables

    tables = usable_tables(path, default_user_config(), needs_trust=needs_trust)
    copy = back_up(path, datetime.now(current_settings.operator.zone).date())
    app.note(f"  The old {path.name} is kept as {copy.name}.")
    if not tables:
        app.note(f"  None of its settings was used: it was not trusted, or not valid. Compare with {copy.name}.")
    return tables


def _trust(app: "App", path: Path, content: bytes) -> None:
    """Trust the file that was just written. Where that cannot be remembered, note that it must be named."""
    from refundcli.settings import TrustNotRemembered, default_user_config, remember_trust

    try:
        remember_trust(path, content, default_user_config())
    except TrustNotRemembered as problem:
        app.note(("! ", "yellow"), problem.message)
        app.note(f"  {problem.hint}")


def _values(current_settings: "Settings", *, sandbox_url: str, merchant_name: str) -> dict[str, dict[str, object]]:
    sandbox_setting = {"api_base": sandbox_url} if sandbox_url else {}
    account_setting = {"merchant_account": merchant_name} if merchant_name else {}
    return {
        "store": {"url": current_settings.store.url},
        "operator": {"name": current_settings.operator.name, "timezone": current_settings.operator.timezone},
        "stripe": {"api_key": current_settings.stripe.api_key or "env:STRIPE_API_KEY", **sandbox_setting},
        "adyen": {
            "api_key": current_settings.adyen.api_key or "env:ADYEN_API_KEY",
            "environment": current_settings.adyen.environment,
            **account_setting,
            **sandbox_setting,
        },
    }


def _given(store_url: str | None, sandbox_url: str, merchant_account: str) -> "Tables":
    """What the options name; it replaces what a settings file says."""
    given_by_section: Tables = {
        "store": {"url": store_url},
        "stripe": {"api_base": sandbox_url},
        "adyen": {"api_base": sandbox_url, "merchant_account": merchant_account},
    }
    return {
        section: {key: value for key, value in table.items() if value} for section, table in given_by_section.items()
    }


def _merged(*tables_in_order: "Tables") -> "Tables":
    """Key by key, the last table that has it."""
    sections = dict.fromkeys(section for tables in tables_in_order for section in tables)
    return {
        section: {key: value for tables in tables_in_order for key, value in tables.get(section, {}).items()}
        for section in sections
    }


def _show_created(app: "App", path: Path, *, sandbox_url: str, replaces_file: bool) -> None:
    from refundcli.output.terminal import GOOD
    from refundcli.secrets import shown_address

    app.out.say(("✓ ", GOOD), f"{'Replaced' if replaces_file else 'Wrote'} {path}; the store is ready.")
    app.out.say(f"store      {shown_address(app.settings.store.url)}", indent=3)
    app.out.say(f"books      in the time zone {app.services.books.zone}", indent=3)
    app.out.say(f"operator   {app.settings.operator.name}, {app.settings.operator.timezone}", indent=3)
    key_words = "the sandbox accepts any sk_test_…" if sandbox_url else "the settings hold references, never keys"
    app.out.say(f"keys       STRIPE_API_KEY and ADYEN_API_KEY in the environment ({key_words})", indent=3)
    app.out.say("Next: refundcli invoice import FILE", indent=3)
