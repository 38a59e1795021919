"""What stands between a browser and the pages: host, size, headers, who is signed in, and forged forms."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from efface.errors import InputError
from efface.files import create_private, read_json

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

ROLES = ("enter", "approve")
"""Whoever enters a request, and whoever approves its run: two people."""
MOST_BODY = 600 * 2**20
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
DOCUMENT = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox allow-popups"
"""Policy of reports and letters: whole pages of their own, which run nothing."""


class Guard:
    """Adds headers to every answer and refuses bodies that are too large, announced or not."""

    def __init__(self, app: App, most: int = MOST_BODY) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdigit() or int(announced) > self.most:
            await self.refuse(scope, receive, send)
            return
        seen, begun = 0, False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.most:
                raise TooLarge
            return message

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                given = {name for name, _ in message["headers"]}
                extra = [(one.encode(), value.encode()) for one, value in HEADERS.items() if one.encode() not in given]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        try:
            await self.app(scope, counted, guarded)
        except TooLarge:
            if not begun:
                await self.refuse(scope, receive, guarded)

    async def refuse(self, scope: Message, receive: Receive, send: Send) -> None:
        """413."""
        await PlainTextResponse("too much was sent at once", 413)(scope, receive, send)


class TooLarge(Exception):
    """More came than was announced or is taken."""


def tokens_of(folder: Path) -> dict[str, str]:
    """The tokens of both roles and the secret of the cookies, drawn on first use, readable by their owner alone."""
    path = folder / "tokens.json"
    names = (*ROLES, "cookies")
    create_private(path, json.dumps({name: secrets.token_urlsafe(32) for name in names}).encode())
    tokens = read_json(path, "tokens")
    if not isinstance(tokens, dict) or any(len(str(tokens.get(name, ""))) < 40 for name in names):
        raise InputError(f"{path} holds no tokens: remove it, and new ones are drawn")
    return {name: str(tokens[name]) for name in names}


def role_of(request: Request, tokens: dict[str, str]) -> str | None:
    """The role whose token this is."""
    given = request.query_params.get("token", "")
    return next((role for role in ROLES if hmac.compare_digest(given.encode(), tokens[role].encode())), None)


def sign_in(request: Request, role: str) -> None:
    """A session of this role, with a token of its own for forms."""
    request.session.clear()
    request.session.update({"role": role, "form": secrets.token_urlsafe(32)})


def is_own_form(request: Request, given: Any) -> bool:
    """Whether a form came from a page of this session: its token fits, and no other site sent it."""
    expected = request.session.get("form", "")
    same_site = request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    fits = isinstance(given, str) and bool(expected) and hmac.compare_digest(given.encode(), expected.encode())
    return same_site and fits
