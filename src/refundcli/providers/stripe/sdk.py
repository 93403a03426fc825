"""Stripe's SDK: one key's client, and what its answers and errors prove. refundcli sends and repeats by itself."""

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, tzinfo
from functools import partial
from typing import Any
from urllib.parse import quote

from refundcli.domain.refund import WireRequest
from refundcli.domain.statuses import Provider
from refundcli.providers import BadCredentials, ProviderUnreachable
from refundcli.providers.answers import Fields, fields_in, refusal, retry_after, safe_text, signal_of, text_in
from refundcli.providers.sdks import without_http_libraries
from refundcli.providers.stripe.fields import has_id
from refundcli.providers.stripe.keys import fingerprint, is_live
from refundcli.providers.stripe.vocabulary import CODE_SIGNALS
from refundcli.providers.transport import FreshConnections, last_check, network_answer
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.rate_limit import Pace
from refundcli.services.ports.providers import MaySend, RefundAnswer
from refundcli.settings import RefundSettings, StripeSettings

with without_http_libraries():
    import stripe as stripe
    from stripe import _util as stripe_logging

_PAGE_SIZE = 100
_MOST_ATTEMPTS = 4
_LONGEST_WAIT_SECONDS = 10.0
_INVALID = "invalid_request_error"
_REFUSED = (400, 404)
# The id that Stripe returns instead of an object that a second person must approve first.
APPROVAL = re.compile(r"(?:areq|apreq)_[A-Za-z0-9_]{1,100}")


class StripeAccount:
    """One key, which is one account in one mode (I12)."""

    name = Provider.STRIPE

    def __init__(
        self,
        api_key: str,
        settings: StripeSettings,
        refund_settings: RefundSettings,
        account: str,
        pace: Pace | None = None,
    ) -> None:
        self.account = account
        self.livemode = is_live(api_key)
        self.base_url = _base_url(settings)
        self._settings = settings
        self._client = _client_for(api_key, settings, refund_settings, pace)

    def _wire_request(self, path: str, params: dict[str, object]) -> WireRequest:
        return WireRequest(self.name, self.base_url + path, self.account, self.livemode, stripe.api_version, params)

    def _is_ours(self, request: WireRequest, path: str) -> bool:
        own_target = (self.name, self.base_url + path, self.account, self.livemode)
        return own_target == (request.provider, request.endpoint, request.account, request.livemode)

    def _post(self, request: WireRequest, idempotency_key: str, may_send: MaySend) -> Any:
        """Exactly one HTTP call."""
        path, options = request.endpoint.removeprefix(self.base_url), {"idempotency_key": idempotency_key}
        with last_check(may_send):
            # Raw, because building the SDK's objects would slow a run down.
            return self._client.raw_request(
                "post", path, **request.params, **options, stripe_version=request.api_version
            )

    def _get(self, path: str, params: Mapping[str, Any]) -> Any:
        """The JSON as it came: the SDK's objects turn some of it into other types."""
        return self._client.raw_request("get", path, **params).data


def account_of(
    api_key: str, settings: StripeSettings, refund_settings: RefundSettings, pace: Pace | None = None
) -> str:
    """The account of a key, or the key's fingerprint if the key may not read its account.

    Raises BadCredentials or ProviderUnreachable.
    """
    try:
        response = fields_in(
            _client_for(api_key, settings, refund_settings, pace).raw_request("get", "/v1/account").data
        )
    except stripe.AuthenticationError:
        raise BadCredentials(Provider.STRIPE, "Stripe rejected it") from None
    except stripe.StripeError as error:
        # A restricted key may lack the permission; a practice server may lack the endpoint, but Stripe never does.
        if error.http_status == 403 or (error.http_status == 404 and settings.api_base):
            return f"key-{fingerprint(api_key)}"
        raise _unreachable(error) from None
    except Exception:  # the SDK could not read the answer
        response = {}
    account = text_in(response.get("id"))
    if not account:
        raise ProviderUnreachable(Provider.STRIPE, "its answer names no account.")
    return account


def _base_url(settings: StripeSettings) -> str:
    return settings.api_base or stripe.DEFAULT_API_BASE


def _client_for(
    api_key: str, settings: StripeSettings, refund_settings: RefundSettings, pace: Pace | None
) -> stripe.StripeClient:
    # No telemetry, and no customer data on stderr or in logs, whatever STRIPE_LOG says.
    stripe.enable_telemetry = False
    stripe.log = None
    stripe_logging.STRIPE_LOG = None
    logging.getLogger("stripe").disabled = True
    timeout = (refund_settings.connect_timeout, refund_settings.read_timeout)
    return stripe.StripeClient(
        api_key,
        base_addresses={"api": _base_url(settings)},
        max_network_retries=0,
        http_client=_HTTPClient(FreshConnections(timeout, stripe.ca_bundle_path, pace)),
    )


class _HTTPClient(stripe.HTTPClient):
    """Sends the SDK's requests."""

    name = "refundcli"

    def __init__(self, connections: FreshConnections) -> None:
        super().__init__()
        self._connections = connections

    def request(  # type: ignore[override]
        self, method: str, url: str, headers: Mapping[str, str], post_data: str | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        try:
            request_body = None if post_data is None else post_data.encode()
            answer = self._connections.request(method, url, headers, request_body)
        except Exception as error:
            raise stripe.APIConnectionError(str(error)) from error  # type: ignore[no-untyped-call]
        return answer.body, answer.status, answer.headers


# --- looking up ---


class StripeReader(StripeAccount):
    """Reads from Stripe. An incomplete list is an error, so it is never taken for the whole."""

    _zone: tzinfo

    def _created_since(self, since: date | None) -> dict[str, Any]:
        if since is None:
            return {}
        return {"created": {"gte": int(datetime(since.year, since.month, since.day, tzinfo=self._zone).timestamp())}}

    def _object(self, path: str, resource_id: str, **params: Any) -> Fields | None:
        """The object with this id; None if Stripe has none."""
        try:
            resource = self._request(f"{path}/{quote(resource_id, safe='')}", params)
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                return None
            raise _unreachable(error) from None
        if not has_id(resource):
            raise _unreadable("it has no id")
        fields: Fields = resource
        return fields

    def _pages(self, path: str, filters: Mapping[str, Any]) -> Iterator[Fields]:
        try:
            yield from pages(partial(self._request, path), filters)
        except stripe.InvalidRequestError as error:
            raise _unreachable(error) from None

    def _request(self, path: str, params: Mapping[str, Any]) -> Any:
        """One answer, with a few attempts after a 429. Raises InvalidRequestError for a missing resource."""
        for attempt in range(1, _MOST_ATTEMPTS + 1):
            try:
                return self._get(path, params)
            except stripe.RateLimitError as error:
                if attempt == _MOST_ATTEMPTS:
                    raise _unreachable(error) from None
                time.sleep(min(retry_after(error.headers or {}) or 0.5 * 2**attempt, _LONGEST_WAIT_SECONDS))
            except stripe.AuthenticationError:
                raise BadCredentials(self.name, "Stripe rejected it") from None
            except stripe.InvalidRequestError:
                raise
            except stripe.StripeError as error:
                raise _unreachable(error) from None
            except Exception as error:  # the SDK could not read the answer
                raise _unreadable(safe_text(error)) from None
        raise AssertionError("the loop returns")


def _unreachable(error: stripe.StripeError) -> ProviderUnreachable:
    return ProviderUnreachable(Provider.STRIPE, classified(error).message)


def _unreadable(why: str) -> ProviderUnreachable:
    return ProviderUnreachable(Provider.STRIPE, f"its answer could not be read: {why}.")


def pages(
    get_page: Callable[[Mapping[str, Any]], object], filters: Mapping[str, Any], kind: str = ""
) -> Iterator[Fields]:
    """All objects of a list; `kind` is their type, if it matters.

    Raises ProviderUnreachable, and what `get_page` raises.
    """
    params = {"limit": _PAGE_SIZE, **filters}
    while True:
        page = get_page(params)
        resources = complete_list(page, kind)
        yield from resources
        if not fields_in(page)["has_more"]:
            return
        params["starting_after"] = resources[-1]["id"]


def complete_list(page: object, kind: str = "") -> list[Fields]:
    """The objects of one page. Raises ProviderUnreachable if it is incomplete: it would seem to prove too much."""
    resources, has_more = fields_in(page).get("data"), fields_in(page).get("has_more")
    if (
        fields_in(page).get("object") != "list"
        or not isinstance(resources, list)
        or not isinstance(has_more, bool)
        or (has_more and not resources)
        or not all(has_id(resource) and kind in ("", resource.get("object")) for resource in resources)
    ):
        raise _unreadable("a list could not be read to its end")
    return resources


# --- answers ---


def is_replayed(headers: Mapping[str, str]) -> bool:
    """Is it the stored answer to the first request with this key?"""
    return str(headers.get("Idempotent-Replayed", "")).lower() == "true"


def awaiting_approval(answer_fields: Fields, message: str, *, is_replay: bool) -> RefundAnswer:
    """`status` names the approval request, if Stripe does. Its id is not a refund's, so there is no reference."""
    # Stripe's preview documentation does not say whether the id is in `approval_request` or in the message.
    approval_match = APPROVAL.search(str(answer_fields))
    status = f"approval_required {approval_match[0]}" if approval_match else "approval_required"
    return RefundAnswer(Signal.AWAITING_APPROVAL, status=status, message=message, replayed=is_replay)


# --- errors ---


def answered(send_request: Callable[[], RefundAnswer]) -> RefundAnswer:
    """The answer, also where the request ends with an error."""
    try:
        return send_request()
    except stripe.StripeError as error:
        return classified(error)
    except Exception as error:  # the SDK could not read the answer
        return RefundAnswer(Signal.OTHER, message=unreadable(error))


def unreadable(error: Exception) -> str:
    return f"Stripe's answer could not be read: {safe_text(error)}"


def classified(error: stripe.StripeError) -> RefundAnswer:
    """The outcome that an error proves for its request."""
    if isinstance(error, stripe.APIConnectionError):
        return network_answer(error.__cause__ or error, "Stripe")
    http_status, details, headers = error.http_status or 0, _details(error), error.headers or {}
    signal, is_replay = _signal(http_status, details), is_replayed(headers)
    message = refusal(Provider.STRIPE, http_status, details.get("message"), text_in(details.get("code")))
    if signal is Signal.AWAITING_APPROVAL:
        return awaiting_approval(details, message, is_replay=is_replay)
    return RefundAnswer(signal, message=message, retry_after=retry_after(headers), replayed=is_replay)


def is_missing(error: stripe.StripeError) -> bool:
    """This account has no such payment, and therefore no refund of it."""
    details = _details(error)
    return (error.http_status, details.get("code")) == (404, "resource_missing") and details.get("param") in (
        "charge",
        "payment_intent",
    )


def _details(error: stripe.StripeError) -> Fields:
    return fields_in(fields_in(error.json_body).get("error"))


def _signal(http_status: int, details: Fields) -> Signal:
    """A refusal must be well-formed: any other answer may come from a proxy, and proves nothing (I5)."""
    error_code, error_type = text_in(details.get("code")), text_in(details.get("type"))
    if error_type == "idempotency_error":
        return Signal.KEY_REUSED
    if error_code in CODE_SIGNALS and http_status < 500:
        return CODE_SIGNALS[error_code]
    if 200 <= http_status < 300:
        return Signal.MALFORMED
    return signal_of(http_status, refused=error_type == _INVALID and http_status in _REFUSED)
