"""Webhook deliveries in a file: `{"headers": {…}, "body": "…"}`, one per line, or one JSON document of one or many.

A body from Adyen may be there as it is.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from refundcli.domain.statuses import Provider
from refundcli.files.source import EmptyFile, Source
from refundcli.services.webhooks.ingest import SavedDelivery

# A body of a megabyte, with escapes.
LONGEST_DELIVERY = 8 * 1024 * 1024
_EXPECTED = 'The file must have saved deliveries as JSON, one per line: {"headers": {…}, "body": "…"}'


class DeliveryFile:
    """The deliveries in order; an invalid one says why. `provider` overrides the file."""

    def __init__(self, source: Source, provider: Provider | None) -> None:
        self._source, self._provider = source, provider

    def deliveries(self) -> Iterator[SavedDelivery]:
        """Raises EmptyFile if all lines are blank."""
        has_deliveries = False
        for delivery in self._whole() if self._is_one_document() else self._lines():
            has_deliveries = True
            yield delivery
        if not has_deliveries:
            raise EmptyFile(self._source.name, expected=_EXPECTED)

    def _is_one_document(self) -> bool:
        """Is the file a list, or an object over several lines?"""
        with self._source.text() as text_file:
            first_line = next(
                (line for line in iter(lambda: text_file.readline(LONGEST_DELIVERY), "") if line.strip()), ""
            )
        return first_line.lstrip()[:1] == "[" or (self._source.size <= LONGEST_DELIVERY and first_line.strip() == "{")

    def _whole(self) -> Iterator[SavedDelivery]:
        with self._source.text() as text_file:
            try:
                document = json.loads(text_file.read())
            except (ValueError, RecursionError):
                yield SavedDelivery(1, why_not="the file is not JSON")
                return
        for delivery_number, delivery in enumerate(document if isinstance(document, list) else [document], start=1):
            yield self._delivery(delivery_number, delivery)

    def _lines(self) -> Iterator[SavedDelivery]:
        with self._source.text() as text_file:
            line_number = 0
            while line_text := text_file.readline(LONGEST_DELIVERY):
                line_number += 1
                if len(line_text) >= LONGEST_DELIVERY:
                    while line_text and not line_text.endswith("\n"):
                        line_text = text_file.readline(LONGEST_DELIVERY)
                    yield SavedDelivery(line_number, why_not="the line is too long")
                elif line_text.strip():
                    yield self._parsed(line_number, line_text)

    def _parsed(self, line_number: int, line_text: str) -> SavedDelivery:
        try:
            return self._delivery(line_number, json.loads(line_text))
        except (ValueError, RecursionError):
            return SavedDelivery(line_number, self._provider, why_not="the line is not JSON")

    def _bare(self, line_number: int, body: Mapping[str, Any]) -> SavedDelivery | None:
        """A body without headers. Adyen's items carry their signatures; Stripe's signature is lost."""
        if "notificationItems" in body:
            return SavedDelivery(line_number, Provider.ADYEN, body=json.dumps(body).encode())
        if body.get("object") == "event":
            return SavedDelivery(line_number, Provider.STRIPE, body=json.dumps(body).encode())
        return None

    def _delivery(self, line_number: int, document: Any) -> SavedDelivery:
        bare_delivery = (
            self._bare(line_number, document) if isinstance(document, Mapping) and "body" not in document else None
        )
        if bare_delivery:
            return bare_delivery
        headers, body = (
            (document.get("headers"), document.get("body")) if isinstance(document, Mapping) else (None, None)
        )
        if not isinstance(headers, Mapping) or not isinstance(body, str):
            return SavedDelivery(line_number, self._provider, why_not="it has no headers, or no body")
        if not all(isinstance(header_text, str) for header_text in headers.values()):
            return SavedDelivery(line_number, self._provider, why_not="a header is not text")
        provider_name = document.get("provider")
        provider = self._provider or (Provider(provider_name) if provider_name in tuple(Provider) else None)
        return SavedDelivery(line_number, provider, headers, body.encode("utf-8", "surrogatepass"))
