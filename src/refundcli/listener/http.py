"""A small HTTP/1.1 server on asyncio and h11: one handler, few connections, a limit for each wait.

A connection *waits* until its request is complete, head and body. The oldest waiting
connection is dropped for a new one, so half-open connections never block a new delivery. A connection with a complete
request is being *answered* and never dropped.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TypeAlias

import h11

_READ_BYTES = 64 * 1024
_HEAD_BYTES = 16 * 1024
_ACCEPT_AGAIN_SECONDS = 0.05
# A response is one line of text: a client that does not read it within this time is gone.
_SEND_SECONDS = 10.0
# For this long, and this much, a request is read on that was answered before its end, so that the response arrives.
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """`waiting` and `answered`: how many connections at once. Seconds: for a request's head, for its body, and for the
    next request on an open connection. `body_bytes` is the largest body.
    """

    waiting: int = 512
    answered: int = 512
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    idle_seconds: float = 30.0
    body_bytes: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """`headers` by lower-case name; those that came several times are joined by commas."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


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

    def __init__(self, response: Response, path: str = "") -> None:
        self.response, self.path = response, path


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class Server:
    """Serves on one bound socket until `stop`; requests being answered are completed."""

    def __init__(
        self,
        handler: Handler,
        limits: Limits,
        *,
        bad_request: Callable[[BadRequest], None],
        trouble: Callable[[Exception], None],
    ) -> None:
        self.handler, self.limits, self.bad_request, self.trouble = handler, limits, bad_request, trouble
        self.is_stopping = False
        # In the order in which they began to wait.
        self._waiting: dict[_Connection, None] = {}
        self._answered: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Stop the server; safe from any thread and from a signal handler."""
        self.is_stopping = True
        if self._loop:
            with suppress(RuntimeError):  # the loop has ended already
                self._loop.call_soon_threadsafe(self._stopped.set)

    async def serve(self, listening_socket: socket.socket, *, stop_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        listening_socket.setblocking(False)
        accepting = self._loop.create_task(self._accept_all(listening_socket))
        if not self.is_stopping:
            await self._stopped.wait()
        accepting.cancel()
        for connection in [waiting for waiting in self._waiting if waiting.is_silent]:
            connection.drop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=stop_seconds)
        for connection in (*self._waiting, *self._answered):
            connection.drop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)

    async def _accept_all(self, listening_socket: socket.socket) -> None:
        """Accept one by one, dropping the oldest for each new one, so that the process never runs out of open files."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                client_socket, _ = await loop.sock_accept(listening_socket)
                self._make_room(self.limits.waiting - 1)
                connection = await self._open(client_socket)
            except OSError:
                # The client is gone, or other parts of this process use the open files.
                self._make_room(len(self._waiting) - 1)
                await asyncio.sleep(_ACCEPT_AGAIN_SECONDS)
            else:
                self.waits(connection)
                task = loop.create_task(self._serve(connection))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _open(self, client_socket: socket.socket) -> "_Connection":
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader(limit=_READ_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, client_socket)
        return _Connection(self, reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    async def _serve(self, connection: "_Connection") -> None:
        try:
            await connection.serve()
        finally:
            self.forget(connection)

    def _make_room(self, most_waiting: int) -> None:
        """Drop the oldest waiting connections."""
        while len(self._waiting) > max(most_waiting, 0):
            next(iter(self._waiting)).drop()

    def waits(self, connection: "_Connection") -> None:
        self._answered.discard(connection)
        self._waiting[connection] = None

    def is_answered(self, connection: "_Connection") -> bool:
        """Start answering; False if too many connections are being answered."""
        if len(self._answered) >= self.limits.answered:
            return False
        self._waiting.pop(connection, None)
        self._answered.add(connection)
        return True

    def forget(self, connection: "_Connection") -> None:
        self._waiting.pop(connection, None)
        self._answered.discard(connection)


class _Connection:
    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
        # Nothing of the next request has arrived.
        self.is_silent = True
        self._method = ""

    def drop(self) -> None:
        """End it now; its task sees the end of the stream."""
        self._server.forget(self)
        self._writer.transport.abort()

    async def serve(self) -> None:
        try:
            head_seconds = self._server.limits.head_seconds
            while await self._exchange(head_seconds):
                head_seconds = self._server.limits.idle_seconds
                self._server.waits(self)
        except (OSError, EOFError, TimeoutError):
            pass
        except Exception as error:
            self._server.trouble(error)
        finally:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()

    async def _exchange(self, head_seconds: float) -> bool:
        """One request and its response; true if another may follow."""
        try:
            method_path_headers = await self._head(head_seconds)
            request = Request(*method_path_headers, await self._whole_body(*method_path_headers))
        except BadRequest as problem:
            self._server.bad_request(problem)
            response = problem.response
        else:
            response = await self._answer(request)
        return await self._send(response)

    async def _answer(self, request: Request) -> Response:
        if not self._server.is_answered(self):
            return Response(503, "too many at once", {"Retry-After": "5"})
        return await self._server.handler(request)

    async def _head(self, head_seconds: float) -> tuple[str, str, dict[str, str]]:
        """The method, the path and the headers. Raises BadRequest, EOFError, TimeoutError."""
        self.is_silent = not self._http.trailing_data[0]
        async with asyncio.timeout(head_seconds) as head_timeout:
            while (event := self._next_event()) is h11.NEED_DATA:
                await self._receive()
                if self.is_silent:
                    self.is_silent = False
                    head_timeout.reschedule(asyncio.get_running_loop().time() + self._server.limits.head_seconds)
        if not isinstance(event, h11.Request):
            raise EOFError
        self._method = event.method.decode("latin-1")
        headers: dict[str, str] = {}
        for name, value in event.headers:
            header_name, header_text = name.decode("latin-1"), value.decode("latin-1")
            headers[header_name] = f"{headers[header_name]},{header_text}" if header_name in headers else header_text
        path = event.target.decode("latin-1").partition("?")[0]
        if event.http_version not in (b"1.0", b"1.1"):
            raise BadRequest(Response(505, "unknown version of HTTP", closes=True), path)
        if "transfer-encoding" in headers and ("content-length" in headers or event.http_version < b"1.1"):
            # Two programs could read different lengths (request smuggling).
            raise BadRequest(Response(400, "ambiguous length", closes=True), path)
        return self._method, path, headers

    async def _whole_body(self, _method: str, path: str, headers: Mapping[str, str]) -> bytes:
        most_bytes = self._server.limits.body_bytes
        too_large = BadRequest(Response(413, "too-large", closes=True), path)
        declared_length = headers.get("content-length", "0")
        if len(declared_length) > 12 or int(declared_length) > most_bytes:
            raise too_large
        body_pieces, body_size = list[bytes](), 0
        try:
            async with asyncio.timeout(self._server.limits.body_seconds):
                while not isinstance(event := self._next_event(path), h11.EndOfMessage):
                    if isinstance(event, h11.Data):
                        body_size += len(event.data)
                        body_pieces.append(bytes(event.data))
                    elif event is h11.NEED_DATA:
                        await self._receive(sends_continue=True)
                    else:
                        raise EOFError
                    if body_size > most_bytes:
                        raise too_large
        except TimeoutError:
            raise BadRequest(Response(408, "too slow", closes=True), path) from None
        return b"".join(body_pieces)

    def _next_event(self, path: str = "") -> object:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as problem:
            raise BadRequest(Response(problem.error_status_hint, "not HTTP", closes=True), path) from None

    async def _receive(self, *, sends_continue: bool = False) -> None:
        if sends_continue and self._http.they_are_waiting_for_100_continue:
            self._writer.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        received = await self._reader.read(_READ_BYTES)
        if not received:
            raise EOFError
        self._http.receive_data(received)

    async def _send(self, response: Response) -> bool:
        closes = response.closes or self._server.is_stopping
        body_bytes = response.text.encode()
        headers = [("Date", formatdate(usegmt=True)), ("Content-Type", response.content_type)]
        headers += [("Content-Length", str(len(body_bytes))), *response.headers.items()]
        headers += [("Connection", "close")] if closes else []
        events: list[h11.Event] = [h11.Response(status_code=response.status, headers=headers)]
        events += [] if self._method == "HEAD" else [h11.Data(data=body_bytes)]
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
