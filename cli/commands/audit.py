"""`audit`: every act of a person on a model or a run; the signed file of a run's decision, and its check."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.connection import application, known, whoami
from cli.output import Json, Markup, console, emit, stamp, table
from statemachine.bootstrap import App
from statemachine.contracts.errors import Misconfigured
from statemachine.core.run import Run
from statemachine.store import AuditEntry

MOST_RUNS = 1000
LARGEST = 1024**3  # bytes of a file to check
BEGUN_BY_PEOPLE = ("redrive", "rollback")  # their runs are their record; a start's is the wish that closes the window


def audit(
    subject: Annotated[
        str, typer.Argument(metavar="MODEL|RUN|verify", help="A model of fraudloop.toml, a run, or `verify`.")
    ],
    file: Annotated[Path | None, typer.Argument(help="With `verify`: the audit file to check.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the audit file of the run's decision.")] = None,
    key: Annotated[
        Path | None, typer.Option(help="A PEM file: the private key to sign with, or for `verify` the public one.")
    ] = None,
    kms: Annotated[str, typer.Option(help="The KMS key to sign with: id, ARN or alias.")] = "",
    as_json: Json = False,
) -> None:
    """Print every act of a person, write the audit file of a run's decision, or check one.

    Acts are starts, approvals, cancels, redrives, rollbacks, holds, quarantines, adoptions. Writing takes `--out` and
    `--key` or `--kms`. Checking takes no account and no network, and ends with status 1 if anything was changed.

    Example: `fraudloop audit fraud`, `fraudloop audit fraud-7 --out fraud-7.zip --kms alias/fraudloop-audit`,
    `fraudloop audit verify fraud-7.zip --key audit.pub.pem`
    """
    if file is not None:
        if subject != "verify":
            raise Misconfigured("a file is checked by `fraudloop audit verify FILE --key PUBLIC-KEY`")
        return _verify(file, key, as_json)
    if subject == "verify":
        raise Misconfigured("name the file to check: `fraudloop audit verify FILE --key PUBLIC-KEY`")
    app = application()
    run = None if subject in app.policies else app.store.load(subject)
    if out is not None:
        return _write(app, app.store.run(subject), out, key, kms)
    found = list(acts_on(app, run) if run else acts(app, known(app, subject)))
    if as_json:
        return emit([asdict(act) for act in found])
    rows = [[stamp(act.at), act.what, act.on, act.who, act.why] for act in found]
    console.print(table(f"{len(found)} acts on {subject}", ["at (UTC)", "act", "on", "who", "why"], rows))
    return None


def _write(app: App, run: Run, out: Path, key: Path | None, kms: str) -> None:
    from cli.audit.container import pack, unpack
    from cli.audit.decision import decision, seal
    from cli.audit.keys import KmsKey, Signer, file_key

    if (key is None) == (not kms):
        raise Misconfigured("an audit file is signed: name a private key with --key, or one of KMS with --kms")
    signer: Signer = file_key(key) if key is not None else KmsKey(app.client("kms"), kms)
    files, predicate = decision(app, run, time.time(), whoami(app))
    body = pack(seal(files, predicate, signer))
    unpack(body)  # what its own check would refuse, as too large say, is not written
    partial = out.with_name(f"{out.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(body)
        partial.replace(out)
    except OSError as error:
        raise Misconfigured(f"{out} cannot be written: {error.strerror}") from error
    missing = len(json.loads(files["evidence.json"])["missing"])
    left_out = f"; {missing} that were not to be had are named in evidence.json" if missing else ""
    console.print(f"{out}: {run.id}, {run.state.value}, {len(files)} files{left_out}; signed by {signer.keyid[:16]}…")


def _verify(file: Path, key: Path | None, as_json: bool) -> None:
    from cli.audit.keys import public_key
    from cli.audit.verify import verify

    if key is None:
        raise Misconfigured("name the public key with --key; one that came with the file proves nothing")
    public = public_key(key)
    try:
        if file.exists() and not file.is_file():
            raise Misconfigured(f"{file} is no file that can be checked; name the audit file")
        if file.stat().st_size > LARGEST:
            raise Misconfigured(f"{file} has more than {LARGEST} bytes, which no audit file has")
        found = verify(file.read_bytes(), public)
    except OSError as error:
        raise Misconfigured(f"{file} cannot be read: {error.strerror}") from error
    if as_json:
        checks = [asdict(finding) for finding in found.findings]
        emit({"holds": found.holds, "checks": checks, "says": dict(found.predicate)})
    else:
        rows = [[f.check, Markup("[bold red]✗[/]" if f.problem else "[green]✓[/]"), f.problem] for f in found.findings]
        console.print(table(f"{file}", ["check", "", "what is wrong"], rows))
        if found.holds:
            told = found.predicate
            console.print(
                f"unchanged since it was signed: {told['run']} ended {told['outcome']} at {stamp(told['decided_at'])}, "
                f"written by {told['made_by']} at {stamp(told['made_at'])}"
            )
    if not found.holds:
        raise typer.Exit(1)


def acts(app: App, model: str) -> list[AuditEntry]:
    """What persons did to the model, its runs and its objects, oldest first."""
    item = app.store.model(model)
    began = [act for run in app.store.runs(model, MOST_RUNS) for act in _beginning(run)]
    done = [*app.store.model_acts(model), *app.store.acts(model), *began]
    if item.hold and not any(act.what == "hold" and act.at == item.hold.at for act in done):
        done.append(AuditEntry("hold", item.hold.who, item.hold.why, item.hold.at))  # by the controller itself
    return sorted(done, key=lambda act: act.at)


def acts_on(app: App, run: Run) -> list[AuditEntry]:
    """What persons did to one run, or to the version that it made or brought back."""
    names = {run.id, run.candidate} - {""}
    ours = [act for act in acts(app, run.model) if act.on in names or act.on.startswith(f"{run.id} ")]
    if run.trigger.kind == "person":
        ours.insert(0, AuditEntry("start", run.trigger.by, run.trigger.why, run.created_at, run.id))
    return ours


def _beginning(run: Run) -> Iterator[AuditEntry]:
    if run.trigger.kind in BEGUN_BY_PEOPLE:
        on = f"{run.id} (of {run.parent})" if run.parent else f"{run.id} (to {run.target})"
        yield AuditEntry(run.trigger.kind, run.trigger.by, run.trigger.why, run.created_at, on)


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="People")(audit)
