"""What the loop wrote into the Application survives an ordinary `kubectl apply`: kubectl itself, on the stand-in."""

import copy
import json
import os
import subprocess

import pytest
from admission import Admission
from manifests import kubectl, of_kind
from werkzeug.serving import make_server

from local.argocd.api import application
from local.argocd.fields import merge_patch
from local.argocd.record import ApplicationRecord, WriteOptions
from local.argocd.settings import ArgoCDSettings
from local.aws.server import served
from training.deployment.argocd import GENERATION, POINTER, Application

LAST = "kubectl.kubernetes.io/last-applied-configuration"
STAGE = "system:serviceaccount:kubeflow:pipeline-runner"


def created(manifest):
    """The Application as `kubectl apply` creates it: with what was applied as an annotation."""
    return merge_patch(manifest, {"metadata": {"annotations": {LAST: json.dumps(manifest)}}})


@pytest.fixture
def cluster(rendered, tmp_path):
    """An Application made by `manifest`, behind an API with the admission rules, and kubectl."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def make(manifest):
            record = ApplicationRecord(
                tmp_path / "application.json", created(manifest), Admission(tuple(rendered["argocd"]))
            )
            app = application(ArgoCDSettings("s3://artifacts/models/fraud"), record, list)
            url = stack.enter_context(served(make_server("127.0.0.1", 0, app, threaded=True)))
            environment = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")}

            def run(*words, stdin=""):
                command = [kubectl(), "--server", url, "--namespace", "argocd", *words]
                return subprocess.run(
                    command, input=stdin, capture_output=True, text=True, timeout=60, env=environment, check=False
                )

            return record, run

        yield make


def deployed(record, version, generation):
    """The deploy stage has moved the pointer, under its own field manager."""
    record.patch(Application(record.get()).pointing(version, generation), WriteOptions("fraudloop", STAGE))


@pytest.mark.parametrize("way", [(), ("--server-side", "--force-conflicts")])
def test_applying_again_leaves_pointer_and_generation_alone(rendered, cluster, way):
    """Any number of times, also with a changed manifest: kubectl does not own fields outside it."""
    manifest = of_kind(rendered["argocd"], "Application", "triton-fraud")
    record, run = cluster(manifest)
    for generation in (1, 2):
        deployed(record, f"fraud-{generation}-0a1b2c3d", generation)
        manifest = merge_patch(manifest, {"spec": {"revisionHistoryLimit": 20 + generation}})
        for _ in range(2):
            done = run("apply", *way, "--validate=false", "-f", "-", stdin=json.dumps(manifest))
            assert done.returncode == 0, done.stderr
            live = Application(record.get())
            assert (live.version, live.generation) == (f"fraud-{generation}-0a1b2c3d", generation)
            assert record.get()["spec"]["revisionHistoryLimit"] == 20 + generation


def old(rendered):
    """deploy/argocd before: pointer and generation stood in the manifest."""
    manifest = copy.deepcopy(of_kind(rendered["argocd"], "Application", "triton-fraud"))
    manifest["metadata"]["annotations"][GENERATION] = "0"
    manifest["spec"]["source"]["kustomize"] = {"commonAnnotations": {POINTER: "none"}}
    return manifest


def test_an_old_manifest_is_refused_when_it_would_reset_them(rendered, cluster):
    """The generation would fall: 422, and the pointer stays."""
    record, run = cluster(old(rendered))
    deployed(record, "fraud-1-0a1b2c3d", 1)
    done = run("apply", "--validate=false", "-f", "-", stdin=json.dumps(old(rendered)))
    assert done.returncode == 1
    assert "never falls" in done.stderr
    assert Application(record.get()).version == "fraud-1-0a1b2c3d"


def test_the_move_to_a_manifest_without_them_is_as_install_says(rendered, cluster):
    """kubectl deletes fields that it applied before and no longer finds, so it must first forget them."""
    record, run = cluster(old(rendered))
    deployed(record, "fraud-1-0a1b2c3d", 1)
    new = json.dumps(of_kind(rendered["argocd"], "Application", "triton-fraud"))
    assert run("apply", "--validate=false", "-f", "-", stdin=new).returncode == 1
    done = run("annotate", "application", "triton-fraud", f"{LAST}-")
    assert done.returncode == 0, done.stderr
    for _ in range(2):
        done = run("apply", "--validate=false", "-f", "-", stdin=new)
        assert done.returncode == 0, done.stderr
    live = Application(record.get())
    assert (live.version, live.generation) == ("fraud-1-0a1b2c3d", 1)
