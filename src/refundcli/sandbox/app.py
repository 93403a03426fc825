"""One application for both APIs: Stripe under /v1, Adyen under /v72, control under /_sandbox."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from refundcli.sandbox.adyen import api as adyen
from refundcli.sandbox.core import control
from refundcli.sandbox.core.state import SandboxState
from refundcli.sandbox.stripe import api as stripe


def create_app(state: SandboxState) -> Starlette:
    routes = [*stripe.routes(state), *adyen.routes(state), *control.routes(state)]
    app = Starlette(routes=routes, exception_handlers={ClientDisconnect: _client_gone})
    # No redirect from /v1/refunds/ to /v1/refunds: the vendors do not redirect either.
    app.router.redirect_slashes = False
    return app


def _client_gone(request: Request, error: Exception) -> Response:
    """A client killed during a request is an expected test case: no traceback."""
    return Response(status_code=400)
