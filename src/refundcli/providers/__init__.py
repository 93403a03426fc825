"""The payment providers, behind `services.ports.PaymentProvider`, and the errors they share."""

from refundcli.domain.errors import Family, Refused, SettingsProblem
from refundcli.domain.statuses import Provider


class UnusableReference(Refused):
    """The payment's reference is not one that the provider can refund (R12)."""

    code = "unusable-reference"

    def __init__(self, provider: Provider, reference: str, expected: str) -> None:
        super().__init__(
            (
                f"{reference[:60]!a} is not a payment that {provider.label} can refund: payment references there "
                f"look like {expected}."
            ),
            hint="Correct the invoice's payment_reference and import it again.",
            context={"provider": provider.value, "reference": reference[:60]},
        )


class BadCredentials(SettingsProblem):
    """The provider rejected the key, or its form is wrong. The message never contains the key."""

    code = "bad-credentials"

    def __init__(self, provider: Provider, why: str) -> None:
        super().__init__(
            f"The API key for {provider.label} is not usable: {why}.",
            hint=f"Check {provider.value}.api_key in the settings, and the secret it refers to.",
            context={"provider": provider.value},
        )


class ProviderUnreachable(SettingsProblem):
    """The provider cannot be reached now; nothing was sent that could move money, so the command may be repeated.

    It is caught with missing credentials, because it too stops every command that needs the provider. Unlike them it
    is temporary, so it exits as "not sent" (7).
    """

    code = "provider-unreachable"
    family = Family.NOT_SENT

    def __init__(self, provider: Provider, why: str) -> None:
        super().__init__(
            f"{provider.label} cannot be reached: {why}",
            hint="Check the network, and api_base if it is set; then run the command again.",
            context={"provider": provider.value},
        )
