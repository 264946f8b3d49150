"""Access control: checks of every request before anything else sees it, and headers on every answer.

- Host must be one of our names. Otherwise a foreign page could point its own name to this machine (DNS rebinding).
- A request that changes something must come from our own page (Origin).
- A request needs the random token of this run or the cookie given for it. If the address is not loopback, a password
  gives the cookie too.
- The size of bodies is limited.
"""

import hmac
import ipaddress
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode

import msgspec
from starlette.exceptions import HTTPException

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

MAX_JSON_BYTES = 8 * 1024**2
MAX_UPLOAD_BYTES = 4 * 1024**3
_TRIES_A_MINUTE = 10

POLICY = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob: data:"),
        *("connect-src 'self'", "font-src 'self'", "worker-src 'self'", "frame-src 'self'"),
        *("base-uri 'none'", "form-action 'self'", "frame-ancestors 'self'"),
    )
)

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

_LOGIN = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>cinesax</title>
<meta name="viewport" content="width=device-width"></head><body><main><h1>cinesax</h1>
<form method="post" action="/login"><label>Password
<input type="password" name="password" autocomplete="current-password" autofocus required>
</label> <button>Open</button></form><p>{}</p>
<p>For research use; not a medical device.</p></main></body></html>"""


@dataclass(frozen=True, slots=True)
class Access:
    """Who has access.

    Attributes:
        port: the port of the server.
        hosts: the host names that requests may use, without port.
        token: the secret of this run.
        password: the password, if the address is not loopback; otherwise None.
    """

    port: int
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def cookie(self) -> str:
        """The name of the cookie. It contains the port, because all ports of a host share their cookies."""
        return f"cinesax_{self.port}"


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Tries:
    """Limits the attempts at a password per minute, over all clients."""

    def __init__(self) -> None:
        self._times: list[float] = []

    def allow(self) -> bool:
        """Count an attempt; False if there were too many."""
        now = time.monotonic()
        self._times = [at for at in self._times if now - at < 60]
        self._times.append(now)
        return len(self._times) <= _TRIES_A_MINUTE


class Guard:
    """An application with access control."""

    def __init__(self, application: Application, access: Access) -> None:
        self._application = application
        self._access = access
        self._tries = _Tries()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # WebSockets are not offered

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message.get("headers", [])}
                added = [(k.lower().encode(), v.encode()) for k, v in _HEADERS.items() if k.lower().encode() not in own]
                message = {**message, "headers": [*message.get("headers", []), *added]}
            await send(message)

        try:
            headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
            self._check_source(scope, headers)
            if await self._log_in(scope, headers, receive, send_with_headers):
                return
            if not self._is_in(headers):
                await self._ask(scope, send_with_headers)
                return
            limit = _limit(scope["path"])
            _check_length(headers, limit)
            await self._application(scope, _bounded(receive, limit), send_with_headers)
        except _Refused as refused:
            await _answer(send_with_headers, refused.status, _error(refused.code, str(refused)))

    def _check_source(self, scope: Message, headers: dict[str, str]) -> None:
        access = self._access
        host = headers.get("host", "").lower()
        names = {f"{name}:{access.port}" for name in access.hosts} | (set(access.hosts) if access.port == 80 else set())
        if host not in names:
            raise _Refused(
                403, "not-allowed", "this name does not belong to the reader's page: use the printed address"
            )
        if scope["method"] not in ("GET", "HEAD"):
            origin = headers.get("origin")
            if origin is not None and origin.lower() != f"http://{host}":
                raise _Refused(403, "not-allowed", "this request comes from another page")
            if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                raise _Refused(403, "not-allowed", "this request comes from another page")

    def _is_in(self, headers: dict[str, str]) -> bool:
        if _same(headers.get("authorization", ""), f"Bearer {self._access.token}"):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._access.cookie)
        except CookieError:
            return False
        return cookie is not None and _same(cookie.value, self._access.token)

    async def _log_in(self, scope: Message, headers: dict[str, str], receive: Receive, send: Send) -> bool:
        """Answer requests for the cookie; return whether this was one."""
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if scope["path"] == "/" and scope["method"] == "GET" and "token" in query:
            if not _same(query["token"][0], self._access.token):
                raise _Refused(403, "not-allowed", "this address is from an earlier run: use the address printed last")
            others = {name: values[0] for name, values in query.items() if name != "token"}
            await self._welcome(send, "/" + (f"?{urlencode(others)}" if others else ""))
            return True
        if scope["path"] != "/login" or self._access.password is None:
            return False
        if scope["method"] != "POST":
            await _page(send, 200, _LOGIN.format(""))
            return True
        _check_length(headers, 4096)
        try:
            body = await _read(_bounded(receive, 4096))
        except HTTPException as error:
            raise _Refused(413, "too-large", "the password is too long") from error
        given = parse_qs(body.decode("latin-1")).get("password", [""])[0]
        if not self._tries.allow():
            await _page(send, 429, _LOGIN.format("Too many attempts: wait a minute."))
        elif _same(given, self._access.password):
            await self._welcome(send, "/")
        else:
            await _page(send, 403, _LOGIN.format("The password is wrong."))
        return True

    async def _welcome(self, send: Send, where: str) -> None:
        cookie = f"{self._access.cookie}={self._access.token}; HttpOnly; SameSite=Strict; Path=/"
        headers = [(b"location", where.encode("latin-1", "replace")), (b"set-cookie", cookie.encode())]
        await _answer(send, 303, b"", headers)

    async def _ask(self, scope: Message, send: Send) -> None:
        if self._access.password is not None and scope["path"] == "/":
            await _answer(send, 303, b"", [(b"location", b"/login")])
            return
        raise _Refused(401, "not-allowed", "open the address that cinesax view printed, with its token")


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode("utf-8", "replace"))


def _limit(path: str) -> int:
    return MAX_UPLOAD_BYTES if path.startswith("/api/uploads/") else MAX_JSON_BYTES


def _check_length(headers: dict[str, str], limit: int) -> None:
    length = headers.get("content-length")
    if length is None:
        return
    if not length.isascii() or not length.isdigit() or len(length) > 20:
        raise _Refused(400, "bad-request", "the length of the body is not a number")
    if int(length) > limit:
        raise _Refused(413, "too-large", f"the body is larger than {limit // 1024**2} MiB")


def _bounded(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            # The framework turns this exception into an answer.
            raise HTTPException(413, f"the body is larger than {max(1, limit // 1024**2)} MiB")
        return message

    return bounded


async def _read(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _error(code: str, message: str) -> bytes:
    return msgspec.json.encode({"error": {"code": code, "message": message}})


async def _page(send: Send, status: int, text: str) -> None:
    await _answer(send, status, text.encode(), [(b"content-type", b"text/html; charset=utf-8")])


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    given = headers if headers is not None else [(b"content-type", b"application/json")]
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": HTTPStatus(status).value, "headers": [*given, length]})
    await send({"type": "http.response.body", "body": body})
