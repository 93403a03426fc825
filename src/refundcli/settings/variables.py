"""Names of environment variables."""

ENVIRONMENT_PREFIX = "REFUNDCLI_"
# Read by other modules, or before the settings.
ENVIRONMENT_APART = frozenset({"REFUNDCLI_CONFIG", "REFUNDCLI_FAULT", "REFUNDCLI_OUTPUT", "REFUNDCLI_PAGER"})


def variable(section: str, key: str) -> str:
    """The environment variable that sets a key."""
    return f"{ENVIRONMENT_PREFIX}{section}_{key}".upper()
