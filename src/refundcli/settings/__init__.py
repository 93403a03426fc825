"""Settings: each key has one meaning, whatever its source.

The value of a key is the first of: the command line, the environment (`REFUNDCLI_<SECTION>_<KEY>`), `refundcli.toml`
in the working folder, the same file in the user's configuration folder, the default. The working folder's file counts
only if the user trusts it (`settings/trust.py`). With `--config` or `REFUNDCLI_CONFIG` no other file is read. An
unknown key is refused, because a misspelt limit would not apply.
"""

from refundcli.settings.errors import (
    ApiBaseWhenLive,
    InvalidSetting,
    NoSettingsHere,
    NotASection,
    SettingsExist,
    SettingsFileMissing,
    SettingsNotText,
    SettingsNotToml,
    SettingsNotTrusted,
    SettingsNotWritable,
    StoreNotNamed,
    TrustNotRemembered,
    UnknownEnvironmentVariable,
    UnknownSection,
    UnknownSetting,
)
from refundcli.settings.loading import LARGEST_FILE, default_state_folder, default_user_config, load, trust
from refundcli.settings.model import (
    AdyenSettings,
    AlertSettings,
    AuditSettings,
    CreditNoteSettings,
    Loaded,
    OperatorSettings,
    RefundSettings,
    Settings,
    StoreSettings,
    StripeSettings,
)
from refundcli.settings.trust import remember_trust
from refundcli.settings.variables import variable
from refundcli.settings.writing import Tables, back_up, usable_tables, write

__all__ = [
    "LARGEST_FILE",
    "AdyenSettings",
    "AlertSettings",
    "ApiBaseWhenLive",
    "AuditSettings",
    "CreditNoteSettings",
    "InvalidSetting",
    "Loaded",
    "NoSettingsHere",
    "NotASection",
    "OperatorSettings",
    "RefundSettings",
    "Settings",
    "SettingsExist",
    "SettingsFileMissing",
    "SettingsNotText",
    "SettingsNotToml",
    "SettingsNotTrusted",
    "SettingsNotWritable",
    "StoreNotNamed",
    "StoreSettings",
    "StripeSettings",
    "Tables",
    "TrustNotRemembered",
    "UnknownEnvironmentVariable",
    "UnknownSection",
    "UnknownSetting",
    "back_up",
    "default_state_folder",
    "default_user_config",
    "load",
    "remember_trust",
    "trust",
    "usable_tables",
    "variable",
    "write",
]
