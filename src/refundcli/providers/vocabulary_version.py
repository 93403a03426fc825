"""The version of a provider's vocabulary: another one wherever the effect of any word is another (R13)."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from refundcli.domain.statuses import Provider

if TYPE_CHECKING:
    from refundcli.services.ports.vocabulary import Meaning


def vocabulary_version(provider: Provider) -> str:
    if provider is Provider.STRIPE:
        from refundcli.providers.stripe import vocabulary as stripe_vocabulary

        return _version_of(stripe_vocabulary.EVENT_TYPES)
    from refundcli.providers.adyen import vocabulary as adyen_vocabulary

    return _version_of(adyen_vocabulary.EVENTS)


def _version_of(meaning_of_word: "Mapping[Any, Meaning]") -> str:
    """A hash of the effects of all words; notes and sources do not count, because they change no effect."""
    words_and_effects = sorted(
        (str(word), repr(replace(meaning, source="", note=""))) for word, meaning in meaning_of_word.items()
    )
    return hashlib.sha256(repr(words_and_effects).encode()).hexdigest()[:16]
