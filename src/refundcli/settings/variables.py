"""Names of environment variables."""

ENVIRONMENT_PREFIX = "REFUNDCLI_"
# Read by other modules, or before the settings.
ENVIRONMENT_APART = frozenset(
    {"REFUNDCLI_CONFIG", "REFUNDCLI_FAULT", "REFUNDCLI_OUTPUT", "REFUNDCLI_PAGER", "REFUNDCLI_READ_ONLY"}
)


def variable(section: str, key: str) -> str:
    """The environment variable that sets a key."""
    return f"{ENVIRONMENT_PREFIX}{section}_{key}".upper()


# For people; those of the shell and of other programs included.
ENVIRONMENT = {
    "REFUNDCLI_SECTION_KEY": "Any setting, such as REFUNDCLI_STORE_URL or REFUNDCLI_OPERATOR_NAME.",
    "REFUNDCLI_CONFIG": "The settings file, as --config.",
    "REFUNDCLI_OUTPUT": "The output format, as -o.",
    "REFUNDCLI_READ_ONLY": "1: change nothing, as --read-only.",
    "REFUNDCLI_PAGER, PAGER": "Shows long output; REFUNDCLI_PAGER goes first, cat turns it off.",
    "ACCESSIBLE": "1: no boxes and no marks, one fact a line.",
    "NO_COLOR": "No colours.",
    "COLUMNS": "How wide the screen is.",
    "TZ": "The time zone, where the settings name none.",
    "PGPASSWORD": "The password of a PostgreSQL store.",
    "REQUESTS_CA_BUNDLE": "The certificates that providers are checked with.",
    "STRIPE_API_KEY, ADYEN_API_KEY": "The keys, where the settings say env:STRIPE_API_KEY and so on.",
}
