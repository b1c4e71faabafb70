"""What a stage's account may write into the Application, judged by the cluster's own admission rules (CEL)."""

import copy
from typing import Any

import pytest
from admission import Admission
from manifests import of_kind

from local.argocd.fields import merge_patch
from training.deployment.argocd import GENERATION, OWNER, POINTER, Application

STAGE = "system:serviceaccount:kubeflow:pipeline-runner"
PERSON = "arn:aws:sts::222222222222:assumed-role/ops/jane"
ARGO = "system:serviceaccount:argocd:argocd-application-controller"
VERSION = "fraud-7-0a1b2c3d"


@pytest.fixture(scope="module")
def policy(rendered):
    return Admission(tuple(rendered["argocd"]))


@pytest.fixture
def live(rendered):
    """The Application in the middle of its life: version 6 at generation 6, synced once."""
    made = copy.deepcopy(of_kind(rendered["argocd"], "Application", "triton-fraud"))
    made["metadata"] |= {"resourceVersion": "7", "uid": "u", "generation": 3}
    made["metadata"]["annotations"] |= {GENERATION: "6"}
    made["spec"]["source"]["kustomize"] = {"commonAnnotations": {POINTER: "fraud-6-ffffffff"}}
    done = {"phase": "Succeeded", "operation": {"sync": {}}, "startedAt": "2026-11-27T00:00:00Z"}
    made["status"] = {"operationState": done, "health": {"status": "Healthy"}, "sync": {"status": "Synced"}}
    return made


def pointer(version):
    return {"spec": {"source": {"kustomize": {"commonAnnotations": {POINTER: version}}}}}


def raised(generation, patch=None):
    return merge_patch({"metadata": {"annotations": {GENERATION: generation}}}, patch or {})


def operation(live, **sync):
    """Our own sync, changed."""
    patch = Application(live).syncing("x")
    return merge_patch(patch, {"operation": {"sync": sync}})


def test_all_that_our_code_writes_is_admitted(policy, live):
    """Pointer and generation, the sync, its termination, a deployment by hand: by the stage and by a person."""
    reading = Application(live)
    running = merge_patch(live, {"operation": {"sync": {}}, "status": {"operationState": {"phase": "Running"}}})
    by_hand = merge_patch(reading.pointing(VERSION, 7), {"metadata": {"annotations": {OWNER: "person"}}})
    for user in (STAGE, PERSON, ARGO):
        assert policy.denied(live, merge_patch(live, reading.pointing(VERSION, 7)), user) == []
        assert policy.denied(live, merge_patch(live, reading.syncing("by-7")), user) == []
        assert policy.denied(running, merge_patch(running, Application(running).ending()), user) == []
        assert policy.denied(live, merge_patch(live, by_hand), user) == []
        assert policy.denied(live, live, user) == []


def test_the_first_deployment_of_all_is_admitted(policy, rendered):
    """The Application as it is applied: no generation, no kustomize, no status."""
    fresh = of_kind(rendered["argocd"], "Application", "triton-fraud")
    fresh = merge_patch(fresh, {"metadata": {"resourceVersion": "1"}})
    pointed = merge_patch(fresh, Application(fresh).pointing(VERSION, 1))
    assert policy.denied(fresh, pointed, STAGE) == []
    assert policy.denied(pointed, merge_patch(pointed, Application(pointed).syncing("a")), STAGE) == []


FENCE = [
    (raised("5"), "never falls"),
    (raised("5", pointer(VERSION)), "never falls"),
    (raised(None), "never falls"),
    (raised("seven"), "whole number"),
    (raised("-1"), "whole number"),
    (raised(""), "whole number"),
    (pointer(VERSION), "only together with a higher"),
    (pointer(None), "only together with a higher"),
    (raised("6", pointer(VERSION)), "only together with a higher"),
    ({"spec": {"source": {"kustomize": None}}}, "only together with a higher"),
]


@pytest.mark.parametrize("user", [STAGE, PERSON, ARGO])
@pytest.mark.parametrize(("patch", "words"), FENCE)
def test_nobody_lowers_the_fence_or_passes_it_by(policy, live, patch, words, user):
    """Neither a user with an old manifest nor a parent Application can lower the generation."""
    assert any(words in message for message in policy.denied(live, merge_patch(live, patch), user))


REPO = {"repoURL": "https://evil.example/x.git", "path": "."}
STAGES = [
    ({"spec": {"project": "default"}}, "nothing of spec but the pointer"),
    ({"spec": {"destination": {"namespace": "kube-system"}}}, "nothing of spec but the pointer"),
    ({"spec": {"destination": {"server": "https://other"}}}, "nothing of spec but the pointer"),
    ({"spec": {"syncPolicy": {"automated": {}}}}, "nothing of spec but the pointer"),
    ({"spec": {"syncPolicy": None}}, "nothing of spec but the pointer"),
    ({"spec": {"sources": [REPO]}}, "nothing of spec but the pointer"),
    ({"spec": {"revisionHistoryLimit": None}}, "nothing of spec but the pointer"),
    ({"spec": {"source": {"repoURL": REPO["repoURL"]}}}, "nothing of spec.source but the pointer"),
    ({"spec": {"source": {"path": "deploy/other"}}}, "nothing of spec.source but the pointer"),
    ({"spec": {"source": {"targetRevision": "evil"}}}, "nothing of spec.source but the pointer"),
    ({"spec": {"source": {"plugin": {"name": "x"}}}}, "nothing of spec.source but the pointer"),
    ({"spec": {"source": {"targetRevision": None}}}, "nothing of spec.source but the pointer"),
    ({"spec": {"source": None}}, "nothing of spec.source but the pointer"),
    ({"spec": {"source": {"kustomize": {"images": ["a=b"]}}}}, "nothing of spec.source.kustomize"),
    ({"spec": {"source": {"kustomize": {"components": ["x"]}}}}, "nothing of spec.source.kustomize"),
    ({"spec": {"source": {"kustomize": {"commonAnnotations": {"x": "y"}}}}}, "nothing of spec.source.kustomize"),
    (raised("7", pointer("../../other/models")), "name of a version"),
    (raised("7", pointer("a b")), "name of a version"),
    ({"metadata": {"annotations": {"argocd.argoproj.io/refresh": "hard"}}}, "no annotation but"),
    ({"metadata": {"annotations": {"notifications.argoproj.io/subscribe": "x"}}}, "no annotation but"),
    ({"metadata": {"labels": {"a": "b"}}}, "no label, finalizer or owner"),
    ({"metadata": {"finalizers": ["resources-finalizer.argocd.argoproj.io"]}}, "no label, finalizer or owner"),
    ({"metadata": {"ownerReferences": [{"name": "x"}]}}, "no label, finalizer or owner"),
    ({"status": {"health": {"status": "Degraded"}}}, "change no other status"),
    ({"status": {"operationState": {"phase": "Failed"}}}, "change no other status"),
    ({"status": {"operationState": {"message": "x"}}}, "change no other status"),
    ({"status": None}, "change no other status"),
]


@pytest.mark.parametrize(("patch", "words"), STAGES)
def test_a_stage_changes_nothing_else_and_a_person_may(policy, live, patch, words):
    """`patch` on the Application alone would give the whole cluster away. The user's RBAC is their own."""
    new = merge_patch(live, patch)
    assert any(words in message for message in policy.denied(live, new, STAGE))
    assert policy.denied(live, new, PERSON) == [] or "version" in words or patch["spec"]["source"] is None


SYNCS: list[tuple[dict[str, Any], str]] = [
    ({"source": REPO}, "plain sync only"),
    ({"sources": [REPO]}, "plain sync only"),
    ({"manifests": ["kind: ClusterRoleBinding"]}, "plain sync only"),
    ({"resources": [{"kind": "Deployment", "name": "x"}]}, "plain sync only"),
    ({"revision": "0123456"}, "own revision"),
    ({"revision": None}, "own revision"),
    ({"prune": True}, "own revision"),
    ({"syncStrategy": {"apply": {"force": True}}}, "own revision"),
    ({"syncStrategy": {"hook": {"force": True}}}, "own revision"),
    ({"syncOptions": ["Replace=true"]}, "own revision"),
    ({"syncOptions": None}, "own revision"),
]


@pytest.mark.parametrize(("sync", "words"), SYNCS)
def test_a_stage_asks_for_a_plain_sync_of_what_is_there(policy, live, sync, words):
    """An operation may carry a source and manifests of its own, which would pass by spec altogether."""
    assert any(words in message for message in policy.denied(live, merge_patch(live, operation(live, **sync)), STAGE))


def test_a_stage_syncs_in_nobody_elses_name(policy, live):
    """Argo CD's history shows `initiatedBy`."""
    for by in ({"username": "jane"}, {"username": "fraudloop", "automated": True}, None):
        patch = merge_patch(Application(live).syncing("x"), {"operation": {"initiatedBy": by}})
        assert policy.denied(live, merge_patch(live, patch), STAGE)


def test_an_ill_generation_can_be_mended_by_a_person(policy, live):
    """Somebody wrote words into the fence; a rule that errs on them would deny every later write."""
    ill = merge_patch(live, raised("three"))
    assert policy.denied(ill, merge_patch(ill, {"status": {"health": {"status": "Healthy"}}}), ARGO) == []
    assert policy.denied(ill, merge_patch(ill, raised("8")), PERSON) == []


def test_every_other_service_account_is_bound_and_other_applications_are_not(policy, live):
    """The stages' account may be called otherwise; Argo CD's and the cluster's own must work."""
    moved = merge_patch(live, {"spec": {"project": "default"}})
    for user in ("system:serviceaccount:profile-a:default-editor", "system:serviceaccount:argocd-evil:x"):
        assert policy.denied(live, moved, user)
    for user in (ARGO, "system:serviceaccount:kube-system:generic-garbage-collector"):
        assert policy.denied(live, moved, user) == []
    other = merge_patch(live, {"metadata": {"name": "other"}})
    assert policy.denied(other, merge_patch(other, {"spec": {"project": "default"}}), STAGE) == []


def test_the_server_answers_422_and_keeps_nothing(policy, live, tmp_path):
    """The rules stand in the stand-in's way as they do in kube-apiserver's: after the schema, before the write."""
    from local.argocd.errors import StatusError
    from local.argocd.record import ApplicationRecord, WriteOptions

    record = ApplicationRecord(tmp_path / "application.json", live, policy)
    before = record.get()
    with pytest.raises(StatusError, match="nothing of spec but the pointer") as refused:
        record.patch({"spec": {"project": "default"}}, WriteOptions(user=STAGE))
    assert (refused.value.code, refused.value.reason) == (422, "Invalid")
    assert record.get() == before
    record.patch(Application(before).pointing(VERSION, 7), WriteOptions(user=STAGE))
    assert Application(record.get()).generation == 7


def test_every_rule_is_needed(rendered, live):
    """Without any one of them, something that is denied above is admitted."""
    objects = rendered["argocd"]
    cases = [(patch, user) for patch, _ in FENCE for user in (STAGE, PERSON)]
    cases += [(patch, STAGE) for patch, _ in STAGES] + [(operation(live, **sync), STAGE) for sync, _ in SYNCS]
    news = [(merge_patch(live, patch), user) for patch, user in cases]
    assert all(Admission(tuple(objects)).denied(live, new, user) for new, user in news)
    policies = [o for o in objects if o["kind"] == "ValidatingAdmissionPolicy"]
    assert sum(len(o["spec"]["validations"]) for o in policies) == 12
    for policy in policies:
        for rule in policy["spec"]["validations"]:
            without = copy.deepcopy(policy)
            without["spec"]["validations"].remove(rule)
            others = tuple(without if o is policy else o for o in objects)
            admitted = [new for new, user in news if not Admission(others).denied(live, new, user)]
            assert admitted, f"nothing needs the rule: {rule['message']}"
