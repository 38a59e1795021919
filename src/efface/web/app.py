"""The pages of `efface serve` and what their forms do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date, timedelta
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from efface.erasure.forget_page import sentence
from efface.erasure.record import Ground, IdentityCheck
from efface.errors import InputError
from efface.ledger.cases import DAYS, Received
from efface.settings import first_complaint
from efface.web.office import DOWNLOADS, MOST_PHOTOS, Office, Step, Upload, answers_to, folder_name
from efface.web.search import MOST_SHOWN
from efface.web.security import DOCUMENT, Guard, is_own_form, role_of, sign_in, tokens_of

HOURS = 10
"""After which one signs in again."""
STATUS_WORDS = {
    "RequestAcknowledged": "new",
    "RequestRequiresAction": "waiting for the person",
    "RequestRequiredActionPerformed": "the person has replied",
    "RequestAccepted": "accepted",
    "RequestRejected": "refused",
    "RequestActionDelayed": "delayed, the person was told",
    "RequestFulfilled": "fulfilled",
    "RequestUnfulfilled": "could not be fulfilled",
}


def application(office: Office, hosts: tuple[str, ...] = ("127.0.0.1", "localhost")) -> Starlette:
    """The whole site; hosts: names by which it may be asked for."""
    tokens = tokens_of(office.folder)
    pages = Pages(office, tokens)
    routes = [
        Route("/login", pages.login),
        Route("/", pages.queue),
        Route("/requests/new", pages.new, methods=["GET", "POST"]),
        Route("/requests/{number}", pages.case, methods=["GET", "POST"]),
        Route("/requests/{number}/photos/{photo}", pages.photo),
        Route("/requests/{number}/found/{row:int}", pages.found_photo),
        Route("/requests/{number}/progress", pages.progress),
        Route("/requests/{number}/files/{name}", pages.download),
        Route("/ledger", pages.ledger),
        Mount("/static", StaticFiles(directory=str(files("efface.web").joinpath("static")))),
    ]
    middleware = [
        Middleware(Guard),
        Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        Middleware(
            SessionMiddleware, secret_key=tokens["cookies"], same_site="strict", max_age=HOURS * 3600, https_only=False
        ),
    ]
    return Starlette(routes=routes, middleware=middleware, exception_handlers={HTTPException: pages.refused})


class Pages:
    """Every page; each but `login` needs somebody signed in."""

    def __init__(self, office: Office, tokens: dict[str, str]) -> None:
        self.office, self.tokens = office, tokens
        self.jinja = Environment(
            loader=PackageLoader("efface.web"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
        )
        self.jinja.filters["state"] = lambda status: STATUS_WORDS[status]
        self.jinja.filters["urgency"] = urgency
        self.jinja.filters["sentence"] = sentence
        self.jinja.filters["page"] = lambda reference: f"/requests/{folder_name(reference)}"

    def shown(self, request: Request, template: str, status: int = 200, **parts: Any) -> Response:
        """A page from its template."""
        common = {"role": request.session.get("role"), "form": request.session.get("form", ""), "today": date.today()}
        return HTMLResponse(self.jinja.get_template(template).render(common | parts), status)

    async def refused(self, request: Request, error: Exception) -> Response:
        """A page that says what is wrong and what to do."""
        assert isinstance(error, HTTPException)
        return self.shown(request, "message.html", error.status_code, title="This did not work", text=error.detail)

    def signed_in(self, request: Request) -> str:
        """The role of whoever asks; a page that says how to sign in, for nobody."""
        role = request.session.get("role")
        if role is None:
            raise HTTPException(401, "You are not signed in: open the link that efface serve printed when it started.")
        return str(role)

    @asynccontextmanager
    async def form(self, request: Request) -> AsyncIterator[dict[str, list[Any]]]:
        """The fields of a form that this session's page sent; its uploads are closed at the end."""
        self.signed_in(request)
        limits = {"max_files": MOST_PHOTOS, "max_fields": 2 * MOST_PHOTOS, "max_part_size": 64 * 2**10}
        async with request.form(**limits) as form:
            if not is_own_form(request, form.get("form")):
                raise HTTPException(
                    403, "This form is out of date or came from another site: reload and send it again."
                )
            yield {name: form.getlist(name) for name in form}

    def number(self, request: Request) -> str:
        """The request a page is of."""
        number = str(request.path_params["number"])
        if self.office.case(number) is None:
            raise HTTPException(404, "There is no such request.")
        return number

    async def login(self, request: Request) -> Response:
        """Sign in by the link that was printed."""
        role = role_of(request, self.tokens)
        if role is None:
            raise HTTPException(401, "This link is not, or no longer, good: take the one that efface serve printed.")
        sign_in(request, role)
        return RedirectResponse("/", 303)

    async def queue(self, request: Request) -> Response:
        """All requests, the most urgent first."""
        self.signed_in(request)
        return self.shown(request, "queue.html", cases=self.office.queue())

    async def new(self, request: Request) -> Response:
        """Enter a request."""
        if self.signed_in(request) != "enter":
            raise HTTPException(403, "You approve requests; somebody else enters them.")
        choices: dict[str, Any] = {"grounds": get_args(Ground), "checks": get_args(IdentityCheck), "most": MOST_PHOTOS}
        if request.method == "GET":
            return self.shown(request, "new.html", given={}, complaint="", **choices)
        async with self.form(request) as form:
            given = {name: values[0] for name, values in form.items() if values and isinstance(values[0], str)}
            photos = [one for one in form.get("photos", []) if isinstance(one, UploadFile) and one.filename]
            uploads = [Upload(one.filename or "", one.file, one.size or 0) for one in photos]
            try:
                event = received(given)
                number = await run_in_threadpool(self.office.enter, event, given.get("name", ""), uploads, "enter")
            except InputError as error:
                return self.shown(request, "new.html", 422, given=given, complaint=str(error), **choices)
        return RedirectResponse(f"/requests/{number}", 303)

    async def case(self, request: Request) -> Response:
        """A request: photos, run, verdict, answer."""
        role, number, complaint = self.signed_in(request), self.number(request), ""
        if request.method == "POST":
            async with self.form(request) as form:
                complaint = await self.done(number, role, form)
            if not complaint:
                return RedirectResponse(f"/requests/{number}", 303)
        case, made, working = self.office.case(number), self.office.decision(number), self.office.working(number)
        candidates = await run_in_threadpool(self.office.candidates, number)
        result = await run_in_threadpool(self.office.result, number)
        return self.shown(
            request,
            "case.html",
            422 if complaint else 200,
            case=case,
            number=number,
            made=made,
            photos=self.office.photos(number),
            clear=request.query_params.get("faces") == "clear",
            working=working,
            log=self.office.log(number, working or "run"),
            can_search=self.office.search is not None,
            search_log=self.office.log(number, "search"),
            candidates=candidates[:MOST_SHOWN],
            more_candidates=max(0, len(candidates) - MOST_SHOWN),
            result=result,
            answers=answers_to(result.outcome.verdict) if result else [],
            downloads=[name for name in DOWNLOADS if self.office.download(number, name)],
            complaint=complaint,
        )

    async def done(self, number: str, role: str, form: dict[str, list[Any]]) -> str:
        """Do what a form asks for, if it is this role's part; why it cannot be done, or ""."""
        what, status, reason = (str(form.get(name, [""])[0]).strip() for name in ("do", "status", "reason"))
        steps: dict[tuple[str, str], Callable[[], object]] = {
            ("review", "enter"): lambda: self.office.review(number, [str(one) for one in form.get("keep", [])]),
            ("search", "enter"): lambda: self.office.look_for_more(number),
            ("accept", "enter"): lambda: self.office.accept(number, [str(one) for one in form.get("accept", [])]),
            ("approve", "approve"): lambda: self.office.approve(number, role),
            ("answer", "approve"): lambda: self.office.answer(number, status, reason),
        }
        if (what, role) not in steps:
            raise HTTPException(403, "Your part is another one: who enters a request does not approve it.")
        try:
            await run_in_threadpool(steps[what, role])
        except InputError as error:
            return str(error)
        return ""

    async def photo(self, request: Request) -> Response:
        """A small picture; blurred unless asked for clear."""
        self.signed_in(request)
        number, photo = self.number(request), str(request.path_params["photo"])
        if photo not in self.office.photos(number):
            raise HTTPException(404, "There is no such photo.")
        seen = partial(self.office.thumbnail, number, photo, clear=request.query_params.get("faces") == "clear")
        return Response(await run_in_threadpool(seen), media_type="image/jpeg")

    async def found_photo(self, request: Request) -> Response:
        """A small picture of a candidate; blurred unless asked for clear."""
        self.signed_in(request)
        number, clear = self.number(request), request.query_params.get("faces") == "clear"
        seen = partial(self.office.found_thumbnail, number, request.path_params["row"], clear=clear)
        if (picture := await run_in_threadpool(seen)) is None:
            raise HTTPException(404, "There is no such photo.")
        return Response(picture, media_type="image/jpeg")

    async def progress(self, request: Request) -> Response:
        """The lines of a run or search so far, and whether it is at work."""
        self.signed_in(request)
        number = self.number(request)
        step: Step = "search" if request.query_params.get("step") == "search" else "run"
        return JSONResponse({"lines": self.office.log(number, step), "running": self.office.working(number) == step})

    async def download(self, request: Request) -> Response:
        """A file of a finished run."""
        self.signed_in(request)
        name = str(request.path_params["name"])
        path = self.office.download(self.number(request), name)
        if path is None:
            raise HTTPException(404, "There is no such file.")
        shown = name.endswith(".html")
        return FileResponse(
            path,
            media_type=DOWNLOADS[name],
            filename=None if shown else name,
            headers={"content-security-policy": DOCUMENT} if shown else {},
        )

    async def ledger(self, request: Request) -> Response:
        """Whether the ledger is as it was written."""
        self.signed_in(request)
        ledger, complaint, head = self.office.ledger, "", None
        try:
            head = await run_in_threadpool(ledger.verify) if ledger.path.exists() else None
        except InputError as error:
            complaint = str(error)
        return self.shown(request, "ledger.html", head=head, complaint=complaint)


def received(given: dict[str, str]) -> Received:
    """A request from the fields of its form; InputError, one line, for what it cannot be."""
    try:
        day = date.fromisoformat(given.get("received", ""))
    except ValueError:
        raise InputError("say on which day the request came") from None
    if day > date.today():
        raise InputError(f"{day} is still to come: say on which day the request came")
    try:
        return Received(
            case=given.get("reference", "").strip(),
            day=day,
            due=day + timedelta(DAYS),
            ground=given.get("ground", ""),
            identity_check=given.get("identity_check", ""),
            subjects=("0" * 64,),
        )
    except ValidationError as error:
        complaint = first_complaint(error, Received)
        if complaint.startswith("case:"):
            complaint = "the reference has letters, digits and . _ / - only, at most 40 of them"
        raise InputError(complaint) from None


def urgency(case: Any) -> str:
    """How many days are left, in words."""
    if case.answered:
        return "answered"
    left = case.days_left(date.today())
    if left < 0:
        return f"overdue by {-left} day{'s' if left < -1 else ''}"
    return "due today" if left == 0 else f"{left} day{'s' if left > 1 else ''} left"


def serve(
    folder: Path, settings: Path, port: int, *, arch: str | None, threads: int, say: Callable[[str], None]
) -> None:
    """Serve the pages on this machine alone until stopped."""
    import uvicorn

    office = Office(folder, settings, arch, threads)
    site, tokens = application(office), tokens_of(folder)
    say(f"who enters requests:   http://127.0.0.1:{port}/login?token={tokens['enter']}")
    say(f"who approves requests: http://127.0.0.1:{port}/login?token={tokens['approve']}")
    say("These links are keys: give each to its person only. Stop with Ctrl-C.")
    try:
        uvicorn.run(site, host="127.0.0.1", port=port, log_level="warning", access_log=False, server_header=False)
    finally:
        office.stop()
