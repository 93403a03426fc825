"""Read single objects and whole lists from Stripe, with a few attempts after a 429."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, tzinfo
from functools import partial
from typing import Any

import stripe

from refundcli.domain.statuses import Provider
from refundcli.providers import BadCredentials, ProviderUnreachable
from refundcli.providers.stripe import fields
from refundcli.providers.stripe import refunds as refunding
from refundcli.providers.stripe.fields import Fields
from refundcli.providers.transport import retry_after, safe_text, text_in

_PAGE_SIZE = 100
_MOST_ATTEMPTS = 4
_LONGEST_WAIT_SECONDS = 10.0


class StripeReader:
    """Reads from Stripe. An incomplete list is an error, so it is never taken for the whole."""

    name = Provider.STRIPE
    _client: stripe.StripeClient
    _zone: tzinfo

    def _created_since(self, since: date | None) -> dict[str, Any]:
        if since is None:
            return {}
        return {"created": {"gte": int(datetime(since.year, since.month, since.day, tzinfo=self._zone).timestamp())}}

    def _object(self, send_request: Callable[[], Any]) -> Fields | None:
        """The requested object; None if Stripe has none with that id."""
        try:
            resource = self._request(send_request)
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                return None
            raise self._unreachable(error) from None
        if not isinstance(resource, Mapping) or not text_in(resource.get("id")):
            raise self._unreadable("it has no id")
        return resource

    def _pages(self, request_page: Callable[[Any], Any], filters: Mapping[str, Any]) -> Iterator[Fields]:
        params = {"limit": _PAGE_SIZE, **filters}
        while True:
            try:
                page = self._request(partial(request_page, params))
            except stripe.InvalidRequestError as error:
                raise self._unreachable(error) from None
            resources = self._complete_list(page)
            yield from resources
            if not page["has_more"]:
                return
            params["starting_after"] = resources[-1]["id"]

    def _complete_list(self, page: Any) -> list[Fields]:
        page_fields = page if isinstance(page, Mapping) else {}
        resources, has_more = page_fields.get("data"), page_fields.get("has_more")
        is_list_readable = (
            isinstance(resources, list)
            and isinstance(has_more, bool)
            and all(fields.has_id(resource) for resource in resources)
        )
        if page_fields.get("object") != "list" or not is_list_readable or (has_more and not resources):
            raise self._unreadable("a list could not be read to its end")
        assert isinstance(resources, list)
        return resources

    def _request(self, send_request: Callable[[], Any]) -> Any:
        """One answer, with a few attempts after a 429. Raises InvalidRequestError for a missing resource."""
        for attempt in range(1, _MOST_ATTEMPTS + 1):
            try:
                return refunding.body(send_request())
            except stripe.RateLimitError as error:
                if attempt == _MOST_ATTEMPTS:
                    raise self._unreachable(error) from None
                time.sleep(min(retry_after(error.headers or {}) or 0.5 * 2**attempt, _LONGEST_WAIT_SECONDS))
            except stripe.AuthenticationError:
                raise BadCredentials(self.name, "Stripe rejected it") from None
            except stripe.InvalidRequestError:
                raise
            except stripe.StripeError as error:
                raise self._unreachable(error) from None
            except Exception as error:  # the SDK could not read the answer
                raise self._unreadable(safe_text(error)) from None
        raise AssertionError("the loop returns")

    def _unreachable(self, error: stripe.StripeError) -> ProviderUnreachable:
        return ProviderUnreachable(self.name, refunding.classified(error).message)

    def _unreadable(self, why: str) -> ProviderUnreachable:
        return ProviderUnreachable(self.name, f"its answer could not be read: {why}.")
