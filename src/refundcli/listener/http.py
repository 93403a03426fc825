"""A small HTTP/1.1 server on asyncio and h11: one handler, few connections, a limit for each wait.

A connection *waits* until its request is complete, head and body. The oldest waiting
connection is dropped for a new one, so half-open connections never block a new delivery. A connection with a complete
request is being *answered* and never dropped.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any, TypeAlias

import h11

_READ_BYTES = 64 * 1024
_HEAD_BYTES = 16 * 1024
_BODY_BYTES = 1024 * 1024
# For a request's head, for its body, and for the next request on an open connection.
_HEAD_SECONDS = 10.0
_BODY_SECONDS = 10.0
_IDLE_SECONDS = 30.0
# A response is one line of text: a client that does not read it within this time is gone.
_SEND_SECONDS = 10.0
# For this long, and this much, a request is read on that was answered before its end, so that the response arrives.
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 8 * 1024 * 1024
# A burst waits in the system's queue (which may be shorter) instead of being refused.
QUEUED_CONNECTIONS = 4096


@dataclass(frozen=True, slots=True)
class Request:
    """`headers` by lower-case name; those that came several times are joined by commas."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "text/plain; charset=utf-8"
    # After an incomplete request, nothing more can be read on the connection.
    closes: bool = False


class BadRequest(Exception):
    """A request that the handler cannot answer; `path` if it is known."""

    def __init__(self, status: int, text: str, path: str = "") -> None:
        self.response, self.path = Response(status, text, closes=True), path


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class Server:
    """Serves on one bound socket until `stop`; requests being answered are completed."""

    def __init__(
        self,
        handler: Handler,
        most_connections: int,
        *,
        bad_request: Callable[[BadRequest], None],
        trouble: Callable[[Exception], None],
    ) -> None:
        self.handler, self.bad_request, self.trouble = handler, bad_request, trouble
        self._most_connections = most_connections
        # The open ones, in the order in which they began to wait.
        self._connections: dict[_Connection, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()

    @property
    def is_stopping(self) -> bool:
        return self._stopped.is_set()

    def stop(self) -> None:
        """Stop the server; safe from any thread and from a signal handler."""
        if self._loop is None:
            self._stopped.set()
            return
        with suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._stopped.set)

    async def serve(self, listening_socket: socket.socket, *, stop_seconds: float) -> None:
        """`stop_seconds` after the stop, what is not answered yet is left to be cancelled with the loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._not_accepted)
        # With a `backlog` of 1, asyncio accepts one by one: the oldest makes room before the open files run out.
        server = await asyncio.start_server(self._accepted, sock=listening_socket, limit=_READ_BYTES, backlog=1)
        listening_socket.listen(QUEUED_CONNECTIONS)
        await self._stopped.wait()
        server.close()
        for connection in [silent for silent in self._connections if silent.is_silent]:
            connection.drop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=stop_seconds)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        self.waits(connection)
        self._make_room(self._most_connections)
        task = asyncio.create_task(connection.serve())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _not_accepted(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The client is gone, or other parts of this process use the open files. asyncio tries again in a second."""
        self._make_room(len(self._connections) - 1)
        self.trouble(context.get("exception") or RuntimeError(context["message"]))

    def _make_room(self, most_connections: int) -> None:
        """Drop the oldest waiting connections: the newest where all others are being answered."""
        excess = len(self._connections) - most_connections
        if excess > 0:
            for connection in [open_one for open_one in self._connections if open_one.is_waiting][:excess]:
                connection.drop()

    def waits(self, connection: "_Connection") -> None:
        """It is the newest of those that wait."""
        self.forget(connection)
        self._connections[connection] = None
        connection.is_waiting = True

    def forget(self, connection: "_Connection") -> None:
        self._connections.pop(connection, None)


class _Connection:
    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
        self._method = ""
        self.is_waiting = True
        # Nothing of the next request has arrived.
        self.is_silent = True

    def drop(self) -> None:
        """End it now; its task sees the end of the stream."""
        self._server.forget(self)
        self._writer.transport.abort()

    async def serve(self) -> None:
        try:
            await self._first_bytes(_HEAD_SECONDS)
            while await self._exchange():
                self._server.waits(self)
                await self._first_bytes(_IDLE_SECONDS)
        except (OSError, EOFError, TimeoutError):
            self._writer.transport.abort()
        except Exception as error:
            self._server.trouble(error)
        finally:
            self._server.forget(self)
            self._writer.close()

    async def _first_bytes(self, seconds: float) -> None:
        if not self._http.trailing_data[0]:
            self.is_silent = True
            async with asyncio.timeout(seconds):
                await self._receive()
        self.is_silent = False

    async def _exchange(self) -> bool:
        """One request and its response; true if another may follow."""
        try:
            request = await self._head()
            request = replace(request, body=await self._whole_body(request))
        except BadRequest as problem:
            self._server.bad_request(problem)
            return await self._send(problem.response)
        self.is_waiting = False
        return await self._send(await self._server.handler(request))

    async def _head(self) -> Request:
        """The request without its body. Raises BadRequest, EOFError, TimeoutError."""
        async with asyncio.timeout(_HEAD_SECONDS):
            event = await self._event()
        if not isinstance(event, h11.Request):
            raise EOFError
        self._method = event.method.decode("latin-1")
        headers: dict[str, str] = {}
        for name, value in event.headers:
            header_name, header_text = name.decode("latin-1"), value.decode("latin-1")
            headers[header_name] = f"{headers[header_name]},{header_text}" if header_name in headers else header_text
        path = event.target.decode("latin-1").partition("?")[0]
        if event.http_version not in (b"1.0", b"1.1"):
            raise BadRequest(505, "unknown version of HTTP", path)
        if "transfer-encoding" in headers and ("content-length" in headers or event.http_version < b"1.1"):
            # Two programs could read different lengths (request smuggling).
            raise BadRequest(400, "ambiguous length", path)
        return Request(self._method, path, headers)

    async def _whole_body(self, request: Request) -> bytes:
        too_large = BadRequest(413, "too-large", request.path)
        declared_length = request.headers.get("content-length", "0")
        if len(declared_length) > 12 or int(declared_length) > _BODY_BYTES:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                while isinstance(event := await self._event(request.path), h11.Data):
                    body += event.data
                    if len(body) > _BODY_BYTES:
                        raise too_large
        except TimeoutError:
            raise BadRequest(408, "too slow", request.path) from None
        return bytes(body)

    async def _event(self, path: str = "") -> object:
        """The next part of a request. Raises BadRequest, EOFError."""
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    self._writer.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                await self._receive()
        except h11.RemoteProtocolError as problem:
            raise BadRequest(problem.error_status_hint, "not HTTP", path) from None
        return event

    async def _receive(self) -> None:
        received = await self._reader.read(_READ_BYTES)
        if not received:
            raise EOFError
        self._http.receive_data(received)

    async def _send(self, response: Response) -> bool:
        closes = response.closes or self._server.is_stopping
        body = response.text.encode()
        headers = [("Date", formatdate(usegmt=True)), ("Content-Type", response.content_type)]
        headers += [("Content-Length", str(len(body))), *response.headers.items()]
        headers += [("Connection", "close")] if closes else []
        events: list[h11.Event] = [h11.Response(status_code=response.status, headers=headers)]
        events += [] if self._method == "HEAD" else [h11.Data(data=body)]
        self._writer.write(b"".join(self._http.send(event) or b"" for event in (*events, h11.EndOfMessage())))
        async with asyncio.timeout(_SEND_SECONDS):
            await self._writer.drain()
        if response.closes:
            await self._linger()
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _linger(self) -> None:
        """Read on for a moment: closing with unread data would discard the response."""
        self._server.waits(self)
        discarded_bytes = 0
        with suppress(TimeoutError):
            self._writer.write_eof()
            async with asyncio.timeout(_LINGER_SECONDS):
                while discarded_bytes < _LINGER_BYTES and (received := await self._reader.read(_READ_BYTES)):
                    discarded_bytes += len(received)
