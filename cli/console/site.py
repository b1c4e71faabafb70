"""The web application: which address shows what, who may, and what a browser must not do. WSGI, no framework.

Werkzeug routes and parses, Jinja2 renders (docs/decisions/0021-the-console.md).
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from werkzeug.exceptions import BadRequest, Forbidden, HTTPException, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from cli.connection import known
from cli.console import reads
from cli.console.acts import ACTS, ConsoleAct, Preview
from cli.console.door import Door
from cli.console.live import live
from cli.console.people import Person, Role
from cli.console.security import HEADERS, REPORT_POLICY, Tokens, own_host, own_origin
from cli.console.text import fit
from cli.explain import sentence
from cli.output import clock, span, stamp
from local.state_dir import StateDir
from statemachine.bootstrap import App
from statemachine.contracts.errors import Conflict, OperationRefused, Unknown

LOG = logging.getLogger("fraudloop.console")
HERE = Path(__file__).parent
SHARED_STYLE = HERE.parents[1] / "training/evaluation/page.css"  # the report's, so both look alike
STATIC = {
    "page.css": (SHARED_STYLE, "text/css"),
    "console.css": (HERE / "static/console.css", "text/css"),
    "htmx.js": (HERE / "static/htmx-2.0.11.min.js", "text/javascript"),
}
FORM_BYTES = 32 * 1024
LONGEST_FIELD = 2000  # characters of a field of a form or an address; an S3 key has 1024 bytes at most
DONE = {
    "approve": "Your approval is on record; the next pass acts on it.",
    "reject": "Your no is on record; the next pass acts on it.",
    "cancel": "Your wish to cancel is on record; the next pass acts on it.",
    "redrive": "The new run begins.",
    "rollback": "The rollback begins.",
    "hold": "The model is on hold.",
    "release": "The model is free.",
    "quarantine": "The object is set aside.",
    "release-object": "The object joins the next run.",
}
READ = ("GET", "HEAD")
PATHS = Map(
    [
        Rule("/", endpoint="overview", methods=READ),
        Rule("/runs", endpoint="runs", methods=READ),
        Rule("/runs/<run_id>", endpoint="run", methods=READ),
        Rule("/runs/<run_id>/timeline", endpoint="timeline", methods=READ),
        Rule("/runs/<run_id>/report", endpoint="report", methods=READ),
        Rule("/compare", endpoint="compare", methods=READ),
        Rule("/models/<name>", endpoint="model", methods=READ),
        Rule("/quarantine", endpoint="quarantine", methods=READ),
        Rule("/dead-letters", endpoint="dead_letters", methods=READ),
        Rule("/live", endpoint="live", methods=READ),
        Rule("/audit", endpoint="audit", methods=READ),
        Rule("/act/<name>", endpoint="act", methods=["GET", "POST"]),
    ],
    strict_slashes=False,
)


class BoundedRequest(Request):
    """A request of bounded size."""

    max_content_length = FORM_BYTES
    max_form_memory_size = FORM_BYTES
    max_form_parts = 20


@dataclass
class Site:
    """The console of one deployment. `hosts` and `origins` are the names under which browsers reach it.

    `home` is the state folder of a local system; None for a deployment on AWS.
    """

    app: App
    door: Door
    hosts: tuple[str, ...]
    origins: tuple[str, ...]
    home: StateDir | None = None
    tokens: Tokens = field(default_factory=Tokens)
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._templates = templates()

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        """The WSGI application."""
        return self.answer(BoundedRequest(environ))(environ, start)

    def answer(self, request: Request) -> Response:
        """The answer to one request, with every header that it needs."""
        try:
            response = self._respond(request)
        except HTTPException as error:
            response = self._failed(request, error.code or 500, error.description or "")
        except Exception as error:
            code, told = _explained(error)
            if told is None:
                LOG.exception("%s %s", request.method, request.path)
            response = self._failed(request, code, told or "This was not foreseen. The console's log has the details.")
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    def _respond(self, request: Request) -> Response:
        if request.path == "/healthz":  # a load balancer asks by address, and learns nothing
            return Response("ok\n", mimetype="text/plain")
        if not own_host(request.host, self.hosts):
            raise BadRequest(f"This console answers as {' or '.join(self.hosts)}, not under that name.")
        if request.path.startswith("/static/"):
            return _static(request.path.removeprefix("/static/"))
        if request.path == "/enter" and (entered := self.door.enter(request)):
            return entered
        person = self.door.person(request)
        if any(len(value) > LONGEST_FIELD for value in (*request.args.values(), *request.form.values())):
            raise BadRequest(f"A field has more than {LONGEST_FIELD} characters.")
        name, values = PATHS.bind(request.host).match(request.path, request.method)
        if name == "act":
            return self._act(request, person, values["name"])
        if name == "report":
            headers = {"Content-Security-Policy": REPORT_POLICY, "X-Frame-Options": "SAMEORIGIN"}
            return Response(reads.report(self.app, values["run_id"]), mimetype="text/html", headers=headers)
        return self._page(request, person, name, **PAGES[name](self, request, **values))

    # -- acts -------------------------------------------------------------------------------------------------

    def _act(self, request: Request, person: Person, name: str) -> Response:
        act = ACTS.get(name)
        if act is None:
            raise NotFound(f"There is no act {name}.")
        if not person.may(act.role):
            raise Forbidden(f"This takes the role {act.role.value}; you have {_roles(person)}.")
        given = request.form if request.method == "POST" else request.args
        target = {field: given.get(field, "").strip() for field in act.target}
        if missing := [field for field, value in target.items() if not value]:
            raise BadRequest(f"What to act on is missing: {', '.join(missing)}.")
        if request.method == "GET":
            preview = act.look(self.app, target)
            return self._asked(request, person, act, target, preview)
        return self._done(request, person, act, target)

    def _done(self, request: Request, person: Person, act: ConsoleAct, target: Mapping[str, str]) -> Response:
        headers = request.headers
        if not own_origin(headers.get("Origin", ""), headers.get("Sec-Fetch-Site", ""), self.origins):
            raise Forbidden("This form was not sent by a page of this console.")
        token = request.form.get("token", "")
        if not self.tokens.valid(token, person.name, act.name, target, self.clock()):
            raise Forbidden("This form is too old or was made for something else. Open it again and repeat the act.")
        why = " ".join(request.form.get("why", "").split())
        if not why or request.form.get("sure") != "yes":
            preview = act.look(self.app, target)
            lacks = "Say why: the reason is kept for the record." if not why else "Tick the box to confirm."
            return self._asked(request, person, act, target, preview, lacks, why, 400)
        place = act.do(self.app, target, person.name, why)
        return Response(status=303, headers={"Location": f"{place}?done={act.name}"})

    def _asked(
        self,
        request: Request,
        person: Person,
        act: ConsoleAct,
        target: Mapping[str, str],
        preview: Preview,
        lacks: str = "",
        why: str = "",
        status: int = 200,
    ) -> Response:
        token = self.tokens.made(person.name, act.name, target, self.clock())
        title = act.title.format_map({name: fit(value) for name, value in target.items()})
        shown = {"act": act, "target": target, "preview": preview, "token": token, "title": title}
        return self._page(request, person, "act", status, lacks=lacks, why=why, **shown)

    # -- pages ------------------------------------------------------------------------------------------------

    def _page(self, request: Request, person: Person, template: str, code: int = 200, /, **shown: Any) -> Response:
        done = DONE.get(request.args.get("done", ""), "")
        can = {role.value for role in Role if person.may(role)}
        common = {
            "person": person,
            "can": can,
            "done": done,
            "path": request.path,
            "models_of_all": list(self.app.policies),
        }
        html = self._templates.get_template(f"{template}.html.j2").render(common | shown)
        return Response(html, status=code, mimetype="text/html")

    def _failed(self, request: Request, code: int, text: str) -> Response:
        html = self._templates.get_template("error.html.j2").render(code=code, text=text, path=request.path)
        return Response(html, status=code, mimetype="text/html")


def _live(site: Site, request: Request) -> dict[str, Any]:
    name = request.args.get("model", "") or next(iter(site.app.policies))
    return live(site.app, known(site.app, name), site.clock())


PAGES: Mapping[str, Callable[..., dict[str, Any]]] = {
    "overview": lambda site, request: reads.overview(site.app, site.home, site.clock()),
    "runs": lambda site, request: reads.runs(
        site.app, request.args.get("model", ""), request.args.get("page", 1, type=int)
    ),
    "run": lambda site, request, run_id: reads.run(site.app, run_id),
    "timeline": lambda site, request, run_id: reads.timeline(site.app, run_id),
    "compare": lambda site, request: reads.compare(
        site.app, request.args.get("a", "").strip(), request.args.get("b", "").strip()
    ),
    "model": lambda site, request, name: reads.model(site.app, name),
    "quarantine": lambda site, request: reads.quarantine(site.app, request.args.get("model", "")),
    "dead_letters": lambda site, request: reads.dead_letters(site.app),
    "live": _live,
    "audit": lambda site, request: reads.audit(site.app, request.args.get("subject", "").strip()),
}


def templates() -> Environment:
    """The pages' templates: every value is escaped, and made fit for a page first."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "views"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=fit,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clock": clock, "stamp": stamp, "span": span, "figure": _figure, "signed": _signed, "money": _money,
    }  # fmt: skip
    environment.tests |= {"waiting": reads.waits, "redrivable": reads.redrivable}
    return environment


def _figure(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _money(value: float) -> str:
    return f"${value:,.2f}" if abs(value) >= 1 else f"${value:.4f}"


def _static(name: str) -> Response:
    if name not in STATIC:
        raise NotFound()
    path, kind = STATIC[name]
    return Response(path.read_bytes(), mimetype=kind, headers={"Cache-Control": "max-age=300"})


def _roles(person: Person) -> str:
    return ", ".join(sorted(role.value for role in person.roles)) or "none but reading"


def _explained(error: Exception) -> tuple[int, str | None]:
    """A status and a sentence for an error; None for one that was not foreseen."""
    code = 404 if isinstance(error, Unknown) else 409 if isinstance(error, OperationRefused | Conflict) else 502
    told = sentence(error)
    return (code, told) if told else (500, None)
