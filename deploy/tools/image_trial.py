"""Runs the images as pods: one run's stages over a small file, then a Triton pod that serves its version.

unshare --net python deploy/tools/image_trial.py     in a network namespace with loopback only

Commands, variables and limits come from what is deployed: the compiled pipelines and deploy/triton's containers. AWS is
the local stand-in. Output is in build/images/trial.
"""

import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import image_tasks
import yaml
from image_build import IMAGES, ROOT, WORK, emptydir
from image_pods import Container, Failed, remove, run, start

sys.path.insert(0, str(ROOT))

from local.process import serving
from training.ports import free_port
from training.synthetic import generate

TAG = {image.name: image.tag for image in IMAGES}
TRIAL = WORK / "trial"
STAGES = {
    "preprocess": "stage",
    "train": "training",
    "evaluate": "stage",
    "export": "stage",
    "shadow": "shadow",
}  # as in pinned_pipelines.py
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "preprocess": {"split": "quantiles"},
    "train": {"epochs": 1, "head_rounds": 30, "hidden_dim": 8, "k": 12, "fan_out": 6},
    "evaluate": {"draws": 50, "baseline_rounds": 20},
    "export": {},
    "shadow": {"requests": 30, "log_days": 1.0, "tolerance": 1e-4},
}
ROWS, SEED, FRAUD_RATE = 20_000, 7, 0.01
RUN, LAUNCH = "fraud-1", "0123456789ab"
SHARED_MEMORY = "/dev/shm"  # noqa: S108 — a folder in the pod
READY_SECONDS = 180  # deploy/triton's startup probe
IN_A_POD = """
import os
assert os.getuid() == os.getgid() == 1000, os.getuid()
for path in ("/app/x", "/opt/x", "/home/fraudloop/x"):
    try:
        open(path, "w")
    except OSError:
        continue
    raise SystemExit(f"{path} can be written")
assert open("/tmp/x", "w").write("x")
assert "NoNewPrivs:\\t1" in open("/proc/self/status").read()
print("closed", flush=True)
bytearray(1 << 30)[:: 4096] = bytes(1 << 18)
"""
GOLDEN = """
import sys
from training import storage
from training.export.golden import Golden
from training.deployment.verification import replay, served_version

address, uri = sys.argv[1:]
golden = Golden.from_dict(storage.read_json(storage.join(uri, "golden.json")))
version = served_version(address, "fraud_score")
assert version == uri.rpartition("/")[2], version
print(f"serves {version}: {len(golden.exchanges)} golden requests, largest difference {replay(address, golden):.2g}")
"""


def loopback_up() -> None:
    """Bring up loopback in the new network namespace. Refuses any other network, so that pods reach nothing outside."""
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        raise SystemExit("this network has more than loopback; run it by `unshare --net`, as `make check-images` does")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        wanted = struct.pack("16sH14x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING; SIOCSIFFLAGS
        fcntl.ioctl(probe, 0x8914, wanted)


def limits_hold() -> None:
    """Check that a pod runs as uid 1000, writes only to its volumes, and is killed beyond its memory limit."""
    pod = Container("closed", TAG["stage"], ["python3", "-c", IN_A_POD], {}, {"memory": "256Mi"}, _volumes("closed"))
    try:
        run(pod, TRIAL / "closed.log")
    except Failed as failed:
        if "137, killed" not in str(failed) or "closed" not in (TRIAL / "closed.log").read_text():
            raise
        return
    raise SystemExit("a pod took 1 GiB under a limit of 256 MiB")


def stages(environment: Mapping[str, str]) -> dict[str, Any]:
    """Run all stages of a run as pods, with the command that KFP's launcher would give. Returns the reports by
    stage.
    """
    everything = image_tasks.executors("fraud-detection-end-to-end")
    arguments = {"run_id": RUN, "model": "fraud", "launch_id": LAUNCH}
    arguments |= {"data_uri": "s3://data/data/fraud/", "output_uri": "s3://artifacts", "champion": "", "anchor": ""}
    collected = _pod("collect", "stage", everything["collect"], arguments, environment)
    inputs = dict(collected["parameterValues"]["Output"])
    reports = {}
    for stage, image in STAGES.items():
        uri = f"s3://artifacts/runs/{RUN}/{stage}/1/{LAUNCH}"
        order = {"run_id": RUN, "model": "fraud", "attempt": 1, "launch_id": LAUNCH, "output_uri": uri}
        order |= {"inputs": inputs, "parameters": PARAMETERS[stage]}
        _pod(stage, image, image_tasks.executors(f"fraudloop-{stage}")[stage], order, environment)
        report = _report(uri)
        if report["outcome"] != "ok":
            raise SystemExit(f"{stage}: {report['outcome']}: {report['reason']}")
        inputs |= {name: output["uri"] for name, output in report["outputs"].items()}
        reports[stage] = report
    shadowed = reports["shadow"]["details"]["shadow"]["candidate"]
    print(f"  the shadow's server answered {shadowed['answered']} of its requests", flush=True)
    if shadowed["error"] or shadowed["failed"] or not shadowed["answered"]:
        raise SystemExit(f"shadow: {shadowed}")
    return reports


def triton(uri: str, environment: Mapping[str, str]) -> str:
    """Run deploy/triton's pod for the version at `uri`, and send its golden requests. Returns the client's output."""
    models, _, version = uri.rpartition("/")
    deployment = yaml.safe_load((ROOT / "deploy/triton/base/deployment.yaml").read_text())["spec"]["template"]["spec"]
    volumes = {f"/{name}": emptydir(f"triton-{name}") for name in ("models", "tmp")}
    values = {"MODELS_URI": models, "MODEL_VERSION": version}
    fetch = _container(deployment["initContainers"][0], "stage", deployment, values, volumes)
    run(replace(fetch, environment={**fetch.environment, **environment}), TRIAL / "fetch.log")
    serve = _container(deployment["containers"][0], "triton", deployment, values, volumes)
    with (TRIAL / "triton.log").open("wb") as out:
        process = start(serve, out)
        try:
            _wait(deployment["containers"][0]["readinessProbe"]["httpGet"]["path"], process)
            command = ["python3", "-c", GOLDEN, "127.0.0.1:8000", uri]
            client = Container("golden", TAG["stage"], command, environment, {"memory": "1Gi"}, _volumes("golden"))
            return run(client, TRIAL / "golden.log").strip().splitlines()[-1]
        finally:
            remove(serve.name)
            process.wait(60)


def _pod(
    name: str, image: str, executor: Mapping[str, Any], values: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, Any]:
    """Run one KFP task as a pod. Returns its executor's output."""
    volumes, container = _volumes(name), executor["container"]
    begun = time.monotonic()
    pod = Container(
        name,
        TAG[image],
        image_tasks.command(executor, values),
        {one["name"]: one["value"] for one in container.get("env", ())} | dict(environment),
        image_tasks.limits(container),
        volumes,
    )
    run(pod, TRIAL / f"{name}.log")
    print(f"  {name:<12}in {image:<10}{pod.limits['memory']:>5}{time.monotonic() - begun:7.1f} s", flush=True)
    return image_tasks.output(volumes["/tmp"])  # noqa: S108 — a folder in the pod


def _container(
    spec: Mapping[str, Any], image: str, pod: Mapping[str, Any], values: Mapping[str, str], volumes: Mapping[str, Path]
) -> Container:
    """Return one container of deploy/triton; variables from the pod's metadata get their value from `values`."""
    environment = {one["name"]: one.get("value", values.get(one["name"], "")) for one in spec["env"]}
    command, args = list(spec.get("command", ())), list(spec.get("args", ()))
    for name, value in values.items():
        command, args = ([word.replace(f"$({name})", value) for word in words] for words in (command, args))
    paths = [mount["mountPath"] for mount in spec["volumeMounts"]]
    return Container(
        spec["name"],
        TAG[image],
        command,
        environment,
        limits=spec["resources"]["limits"],
        volumes={path: volumes[path] for path in paths if path != SHARED_MEMORY},
        read_only=frozenset(mount["mountPath"] for mount in spec["volumeMounts"] if mount.get("readOnly")),
        shared_memory=next(v["emptyDir"]["sizeLimit"] for v in pod["volumes"] if v["name"] == "shm"),
        security=spec["securityContext"],
        user=pod["securityContext"],
        args=args,
    )


def _wait(path: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"http://127.0.0.1:8000{path}", timeout=5).close()
            return
        time.sleep(0.2)
    tail = "\n".join((TRIAL / "triton.log").read_text(errors="replace").splitlines()[-25:])
    why = f"is not ready after {READY_SECONDS} s" if process.poll() is None else "ended before it was ready"
    raise Failed(f"the Triton pod {why}\n{tail}")


def _volumes(name: str) -> dict[str, Path]:
    return {"/tmp": emptydir(name)}  # noqa: S108 — a folder in the pod


def _report(uri: str) -> dict[str, Any]:
    bucket, _, key = f"{uri}/report.json".removeprefix("s3://").partition("/")
    found: dict[str, Any] = json.loads(_s3().get_object(Bucket=bucket, Key=key)["Body"].read())
    return found


def _s3() -> Any:
    return boto3.client("s3")


def main() -> None:
    """Run the trial step by step. Any failure ends it."""
    loopback_up()
    shutil.rmtree(TRIAL, ignore_errors=True)
    TRIAL.mkdir(parents=True)
    port = free_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }
    os.environ |= environment
    with serving(
        [sys.executable, "-m", "local.aws.server", str(port)], environment["AWS_ENDPOINT_URL"], TRIAL / "cloud.log"
    ):
        for bucket in ("data", "artifacts"):
            _s3().create_bucket(Bucket=bucket)
        rows = generate(ROWS, SEED, fraud_rate=FRAUD_RATE).write_csv()
        _s3().put_object(Bucket="data", Key="data/fraud/small.csv", Body=rows.encode())
        limits_hold()
        print("  a pod is uid 1000, its root is read-only, 256 MiB are 256 MiB (cgroup)", flush=True)
        reports = stages(environment)
        print(" ", triton(reports["export"]["outputs"]["repository"]["uri"], environment), flush=True)


if __name__ == "__main__":
    main()
