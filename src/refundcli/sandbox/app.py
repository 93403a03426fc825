"""One application that speaks both wires: Stripe under /v1, Adyen under /v72, control under /_sandbox."""

from __future__ import annotations

from starlette.applications import Starlette

from . import adyen, control, stripe
from .state import SandboxState


def create_app(state: SandboxState) -> Starlette:
    app = Starlette(routes=[*stripe.routes(state), *adyen.routes(state), *control.routes(state)])
    # A look-alike does not redirect /v1/refunds/ to /v1/refunds: the vendors do not either.
    app.router.redirect_slashes = False
    return app
