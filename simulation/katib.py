"""A stand-in for Katib on one machine: the API of Experiments, and trials that run their real command as processes.

It does what the cluster's parts do with a manifest: the webhook refuses, the suggestion service (Optuna here) suggests,
the controller fills the trial template in and starts at most `parallelTrialCount` of them, the collector reads
`name=value` from their output. It knows no Pods, so resources, tolerations and service accounts are not looked at.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import optuna

from training.tuning.katib_validation import refusals

PATH = re.compile(r"/apis/kubeflow\.org/v1beta1/namespaces/([^/?]+)/experiments(?:/([^/?]+))?")
COLLECTED = re.compile(r"^([\w-]+)\s*=\s*([+-]?\d*\.?\d+(?:[eE][+-]?\d+)?)\s*$", re.MULTILINE)

Run = Callable[[list[str]], str]


def run_process(command: list[str]) -> str:
    """A trial's container as a process of this machine; its stdout. Raises `CalledProcessError`."""
    if command[0] == "python":
        command = [sys.executable, *command[1:]]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ)).stdout


@dataclass
class Controller:
    """Experiments by (namespace, name)."""

    run: Run = run_process
    experiments: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    workers: list[threading.Thread] = field(default_factory=list)

    def create(self, namespace: str, manifest: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """201 and the object; 400 from the webhook; 409 for a name that is taken."""
        key = (namespace, manifest["metadata"]["name"])
        if problems := list(refusals(manifest)):
            reason = f'admission webhook "validator.experiment.katib.kubeflow.org" denied the request: {problems[0]}'
            return 400, _status(400, "BadRequest", reason)
        with self.lock:
            if key in self.experiments:
                return 409, _status(409, "AlreadyExists", f'experiments.kubeflow.org "{key[1]}" already exists')
            kept = self.experiments[key] = {**manifest, "status": {"conditions": [_condition("Created", "")]}}
        worker = threading.Thread(target=self._search, args=(kept,), daemon=True)
        self.workers.append(worker)
        worker.start()
        return 201, kept

    def get(self, namespace: str, name: str) -> tuple[int, dict[str, Any]]:
        """200 and a copy, or 404."""
        with self.lock:
            found = self.experiments.get((namespace, name))
            if found is None:
                return 404, _status(404, "NotFound", f'experiments.kubeflow.org "{name}" not found')
            copied: dict[str, Any] = json.loads(json.dumps(found))
            return 200, copied

    def _search(self, kept: dict[str, Any]) -> None:
        spec = kept["spec"]
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        settings = {s["name"]: s["value"] for s in spec["algorithm"].get("algorithmSettings", ())}
        sampler = optuna.samplers.TPESampler(seed=int(settings.get("random_state", 0)))
        study = optuna.create_study(direction=spec["objective"]["type"], sampler=sampler)
        self._update(kept, trials=0, trialsRunning=0, trialsSucceeded=0, trialsFailed=0)
        with ThreadPoolExecutor(spec["parallelTrialCount"]) as pool:
            list(pool.map(lambda _: self._trial(kept, study), range(spec["maxTrialCount"])))
        status = kept["status"]
        if status["trialsFailed"] > spec["maxFailedTrialCount"]:
            self._end(kept, "Failed", "Experiment has failed because max failed count has reached")
        else:
            self._end(kept, "Succeeded", "Experiment has succeeded because max trial count has reached")

    def _trial(self, kept: dict[str, Any], study: optuna.Study) -> None:
        spec, status = kept["spec"], kept["status"]
        with self.lock:
            if status["trialsFailed"] > spec["maxFailedTrialCount"]:
                return
            trial = study.ask()
            chosen = {each["name"]: _suggest(trial, each) for each in spec["parameters"]}
            status["trials"] += 1
            status["trialsRunning"] += 1
        metrics = self._observe(spec, chosen)
        wanted = spec["objective"]["objectiveMetricName"]
        with self.lock:
            status["trialsRunning"] -= 1
            if wanted not in metrics:
                status["trialsFailed"] += 1
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                return
            status["trialsSucceeded"] += 1
            study.tell(trial, float(metrics[wanted]))
            if study.best_trial.number == trial.number:
                status["currentOptimalTrial"] = _optimal(f"trial-{trial.number}", chosen, metrics)

    def _observe(self, spec: Mapping[str, Any], chosen: Mapping[str, str]) -> dict[str, str]:
        try:
            return dict(COLLECTED.findall(self.run(_command(spec["trialTemplate"], chosen))))
        except (subprocess.CalledProcessError, OSError):
            return {}

    def _update(self, kept: dict[str, Any], **status: int) -> None:
        with self.lock:
            kept["status"].update(status)

    def _end(self, kept: dict[str, Any], kind: str, message: str) -> None:
        with self.lock:
            kept["status"]["conditions"].append(_condition(kind, message))


def _suggest(trial: optuna.Trial, parameter: Mapping[str, Any]) -> str:
    space, name = parameter["feasibleSpace"], parameter["name"]
    if parameter["parameterType"] == "int":
        return str(trial.suggest_int(name, int(space["min"]), int(space["max"]), step=int(space.get("step", "1"))))
    log = space.get("distribution") == "logUniform"
    return str(trial.suggest_float(name, float(space["min"]), float(space["max"]), log=log))


def _command(template: Mapping[str, Any], chosen: Mapping[str, str]) -> list[str]:
    """The primary container's command with the template's placeholders filled in."""
    pod = template["trialSpec"]["spec"]["template"]["spec"]
    [container] = [c for c in pod["containers"] if c["name"] == template["primaryContainerName"]]
    values = {each["name"]: chosen[each["reference"]] for each in template["trialParameters"]}
    words = [*container["command"], *container["args"]]
    return [re.sub(r"\$\{trialParameters\.([^}]+)\}", lambda m: values[m[1]], word) for word in words]


def _optimal(name: str, chosen: Mapping[str, str], metrics: Mapping[str, str]) -> dict[str, Any]:
    observed = [{"name": n, "latest": v, "min": v, "max": v} for n, v in metrics.items()]
    assigned = [{"name": n, "value": v} for n, v in chosen.items()]
    return {"bestTrialName": name, "parameterAssignments": assigned, "observation": {"metrics": observed}}


def _condition(kind: str, message: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "message": message}


def _status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


@contextmanager
def serving(run: Run = run_process) -> Iterator[str]:
    """The API on loopback; yields its URL. Trials that run when it ends are waited for."""
    controller = Controller(run)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = PATH.fullmatch(self.path.split("?")[0])
            self._answer(*(controller.get(found[1], found[2]) if found and found[2] else _nowhere(self.path)))

        def do_POST(self) -> None:
            found = PATH.fullmatch(self.path.split("?")[0])
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(*(controller.create(found[1], body) if found and not found[2] else _nowhere(self.path)))

        def _answer(self, code: int, body: Mapping[str, Any]) -> None:
            text = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *arguments: Any) -> None:
            """Quiet: the caller shows what matters."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            for worker in controller.workers:
                worker.join(60)


def _nowhere(path: str) -> tuple[int, dict[str, Any]]:
    return 404, _status(404, "NotFound", f"no route {path}")
