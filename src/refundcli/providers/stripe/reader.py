"""Read single objects and whole lists from Stripe, with a few attempts after a 429."""

import time
from collections.abc import Iterator, Mapping
from datetime import date, datetime, tzinfo
from functools import partial
from typing import Any
from urllib.parse import quote

from refundcli.providers import BadCredentials, ProviderUnreachable
from refundcli.providers.answers import Fields, retry_after, safe_text
from refundcli.providers.stripe.fields import has_id
from refundcli.providers.stripe.sdk import NotAList, StripeAccount, classified, complete_list, pages, stripe

_MOST_ATTEMPTS = 4
_LONGEST_WAIT_SECONDS = 10.0


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
            raise self._unreachable(error) from None
        if not has_id(resource):
            raise self._unreadable("it has no id")
        found: Fields = resource
        return found

    def _pages(self, path: str, filters: Mapping[str, Any]) -> Iterator[Fields]:
        try:
            yield from pages(partial(self._request, path), filters)
        except stripe.InvalidRequestError as error:
            raise self._unreachable(error) from None
        except NotAList as error:
            raise self._unreadable(str(error)) from None

    def _complete_list(self, page: object) -> list[Fields]:
        try:
            return complete_list(page)
        except NotAList as error:
            raise self._unreadable(str(error)) from None

    def _request(self, path: str, params: Mapping[str, Any]) -> Any:
        """One answer, with a few attempts after a 429. Raises InvalidRequestError for a missing resource."""
        for attempt in range(1, _MOST_ATTEMPTS + 1):
            try:
                return self._get(path, params)
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
        return ProviderUnreachable(self.name, classified(error).message)

    def _unreadable(self, why: str) -> ProviderUnreachable:
        return ProviderUnreachable(self.name, f"its answer could not be read: {why}.")
