"""A round of deaths in a running system: a file lands, something is killed, the run rests; then all is looked at."""

import json
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from killing import ATTEMPTS, KFP, LAMBDA, STAGE, TRITON, WIRE

from local.aws.resources import DATA, client
from statemachine.contracts.report import REPORT
from statemachine.core.states import State
from training.deployment.cluster import ClusterUnreachable
from training.deployment.verification import served_version

MODEL = "fraud"
REST_SECONDS = 420.0  # a claim whose holder was killed is waited out: 150 s
SETTLE_SECONDS = 90.0
STAGES = 6  # of a run that goes well
EXPLAINED = {LAMBDA: 0, KFP: 1, STAGE: 1, TRITON: 1, WIRE: 2}  # attempts that one death may cost
WORKING = ("PENDING", "RUNNING", "PAUSED", "CANCELING")


@dataclass
class Round:
    """One round and what came of it. `wrong` is empty when everything is as it should be."""

    number: int
    seed: int
    plan: Any
    expected: str
    state: str = ""
    reason: str = ""
    launches: int = 0
    duplicates: int = 0
    seconds: float = 0.0
    wrong: list = field(default_factory=list)

    def __str__(self):
        outcome = f"{self.state}, {self.launches} launches" + (
            f", {self.duplicates} of them twins" if self.duplicates else ""
        )
        line = f"{self.number:>5}  {self.seed:>4}  {self.plan!s:<40}{self.plan.when:<20}{outcome:<42}"
        verdict = "; ".join(self.wrong) or "right" if self.state else "did not come to its end"
        return f"{line}{self.seconds:6.1f} s  {verdict}"


HEADER = f"{'round':>5}  {'seed':>4}  {'victim':<40}{'moment':<20}{'outcome':<42}{'took':>8}  "


class Ring:
    """The running system in which rounds are played one after the other. `app` and `url` reach past the relay."""

    def __init__(self, system, app, url, killer, relay):
        self.system, self.app, self.url, self.killer, self.relay = system, app, url, killer, relay
        self.rounds = []

    def play(self, plan, seed):
        """A round, with everything that is wrong after it."""
        number = len(self.rounds) + 1
        here = Round(number, seed, plan, self._expected(plan))
        self.rounds.append(here)
        begun = time.monotonic()
        client("s3", self.url).put_object(Bucket=DATA, Key=f"data/fraud/{number}.csv", Body=b"x")
        self._disturb(f"fraud-{number}", plan)
        run = self._rested(f"fraud-{number}")
        here.seconds, here.state, here.reason = time.monotonic() - begun, run.state.value, run.reason
        names = [launch["display_name"] for launch in self._launches(run)]
        here.launches, here.duplicates = len(names), len(names) - len(set(names))
        if plan.victim == ATTEMPTS and self._reported(run, State(plan.which).stage):
            here.expected = "SUCCEEDED"  # on a busy machine one of them was done before it died
        here.wrong = self._wrong(here, run)
        return here

    def _expected(self, plan):
        """A single death costs an attempt at most; when all attempts of a stage die, so does its run."""
        if plan.victim != ATTEMPTS:
            return "SUCCEEDED"
        return "ROLLED_BACK" if plan.which == "DEPLOYING" and self._champion() else "FAILED"

    def _champion(self):
        champion = self.app.store.model(MODEL).champion
        return champion.version if champion else ""

    # -- the death ------------------------------------------------------------------------------------------------

    def _disturb(self, run_id, plan):
        if plan.victim == ATTEMPTS:
            return self._kill_every_attempt(run_id, plan)
        write = plan.moment.write  # a run that ends earlier is noticed afterwards: no one waits for it
        self._until(lambda run: write == 0 or (run and (run.version >= write or run.state.terminal)), run_id)
        time.sleep(plan.moment.seconds)
        return self.killer.kill(plan)

    def _kill_every_attempt(self, run_id, plan):
        """As soon as it is there, so before it can have reported."""
        self._until(lambda run: run and run.state.value == plan.which, run_id)
        while self.app.store.run(run_id).state.value == plan.which:
            self.killer.kill_stages()
            time.sleep(0.005)

    def _rested(self, run_id):
        return self._until(lambda run: run and run.state.terminal, run_id)

    def _until(self, holds, run_id):
        until = time.monotonic() + REST_SECONDS
        while not holds(run := self.app.store.load(run_id)):
            assert time.monotonic() < until, f"{run_id} does not get there: {run}"
            time.sleep(0.02)
        return run

    # -- what is there afterwards -----------------------------------------------------------------------------------

    def _wrong(self, here, run):
        """Each rule that does not hold, in words; what may take a moment is waited for."""
        rules = {
            f"it is {here.state}, not {here.expected}: {here.reason}": lambda: here.state == here.expected,
            f"{here.launches} launches are not what the death explains": lambda: self._explained(here),
            "the champion is not this run's": lambda: (
                (here.state == "SUCCEEDED") == (self._champion() == run.candidate != "")
            ),
            "an object is not in exactly one epoch, or an epoch not exactly one run": self._once_each,
            "of an attempt not exactly one launch was read": lambda: self._one_launch_each(run),
            "a launch still works": lambda: not self._working(run),
            "a stage's process is left": lambda: not self.killer.stages(),
            "a process is orphaned": lambda: not self.killer.strays(self.relay.url),
            "Triton does not serve the champion": self._serves_champion,
            "not one Triton runs": lambda: len(self.killer.tritons()) == (1 if self._champion() else 0),
            "a slot is kept": self._slots_are_free,
        }
        return [rule for rule, holds in rules.items() if not _soon(holds)]

    def _explained(self, here):
        if here.plan.victim == ATTEMPTS:
            return here.state != "SUCCEEDED" or here.launches > STAGES
        return here.launches - here.duplicates <= STAGES + EXPLAINED[here.plan.victim]

    def _reported(self, run, stage):
        found = self.app.files.list(self.app.settings.artifacts_bucket, f"runs/{run.id}/{stage.value}/")
        return any(obj.key.endswith(REPORT) for obj in found)

    def _once_each(self):
        objects, runs = list(self.app.intake.objects(MODEL)), list(self.app.store.runs(MODEL, limit=1000))
        played = range(1, len(self.rounds) + 1)
        landed = sorted((obj.epoch, obj.key) for obj in objects)
        epochs = sorted((run.epoch, run.id) for run in runs)
        return landed == [(n, f"data/fraud/{n}.csv") for n in played] and epochs == [(n, f"fraud-{n}") for n in played]

    def _one_launch_each(self, run):
        """Each attempt adopted one launch, and all that was read of its stage lies in that launch's folder."""
        launches = {launch["run_id"]: launch for launch in self._launches(run)}
        adopted: dict[tuple[str, int], set[str]] = {}
        for entry in self.app.store.history(run.id):
            if entry.kfp_id:
                adopted.setdefault((entry.source, entry.attempt), set()).add(entry.kfp_id)
        if any(len(ids) > 1 for ids in adopted.values()):
            return False
        known = {
            _folder(launches[kfp_id]["runtime_config"]["parameters"]["output_uri"]) for (kfp_id,) in adopted.values()
        }
        read = {_folder(artifact.uri) for made in run.outputs.values() for artifact in made.values()} - {""}
        return read <= known

    def _working(self, run):
        return [launch for launch in self._launches(run) if launch["state"] in WORKING]

    def _launches(self, run):
        url = f"{self.system.endpoints.urls['kfp']}/apis/v2beta1/runs?page_size=200&sort_by=created_at%20desc"
        for _ in range(100):
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    runs = json.load(answer).get("runs", [])
                return [one for one in runs if one["display_name"].startswith(f"{run.id}.")]
            except OSError:  # it is being started again
                time.sleep(0.2)
        raise AssertionError("the embedded KFP does not answer")

    def _serves_champion(self):
        try:
            served = served_version(self.system.endpoints.urls["triton"].removeprefix("http://"), "fraud_score")
        except ClusterUnreachable:
            served = ""
        return served == self._champion()

    def _slots_are_free(self):
        model = self.app.store.model(MODEL)
        return not model.training and model.deploying is None and model.hold is None


def _folder(uri):
    """`<run>/<stage>/<attempt>/<launch>`; "" for what lies elsewhere, as a version does."""
    return "/".join(uri.partition("/runs/")[2].split("/")[:4])


def _soon(holds):
    until = time.monotonic() + SETTLE_SECONDS
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True
