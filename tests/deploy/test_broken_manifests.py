"""The checks of the manifests turn red when one is broken on purpose; tests/deploy/test_manifests.py breaks schemas."""

import copy
import shutil

import pytest
import test_manifests as checks
from manifests import ROOT, of_kind, render

from training.deployment.argocd import POINTER

SERVING = checks.test_the_old_version_answers_until_the_new_one_is_ready
CLOSED = checks.test_pods_run_without_root_and_without_a_writable_root
RIGHTS = checks.test_the_stage_pods_may_move_one_application_and_read_no_secret


def container(obj):
    return obj["spec"]["template"]["spec"]["containers"][0]


def deployer(rendered):
    return of_kind(rendered["kfp/overlays/prod"], "Role", "fraudloop-deployer")["rules"][0]


def no_startup_probe(rendered):
    container(of_kind(rendered["triton/overlays/prod"], "Deployment")).pop("startupProbe")


def ready_by_the_server_alone(rendered):
    probe = container(of_kind(rendered["triton/overlays/prod"], "Deployment"))["readinessProbe"]
    probe["httpGet"]["path"] = "/v2/health/ready"


def one_pod_less_meanwhile(rendered):
    strategy = of_kind(rendered["triton/overlays/prod"], "Deployment")["spec"]["strategy"]
    strategy["rollingUpdate"]["maxUnavailable"] = 1


def a_probe_that_waits_ten_minutes(rendered):
    container(of_kind(rendered["triton/overlays/prod"], "Deployment"))["startupProbe"]["failureThreshold"] = 200


def root(rendered):
    pod = of_kind(rendered["monitoring"], "Deployment", "prometheus")["spec"]["template"]["spec"]
    pod["securityContext"]["runAsNonRoot"] = False


def a_writable_root(rendered):
    job = of_kind(rendered["kfp/token-rotation"], "CronJob")["spec"]["jobTemplate"]
    container(job)["securityContext"].pop("readOnlyRootFilesystem")


def memory_without_end(rendered):
    container(of_kind(rendered["triton/overlays/prod"], "Deployment"))["resources"].pop("limits")


def secrets(rendered):
    deployer(rendered)["resources"].append("secrets")


def every_application(rendered):
    deployer(rendered).pop("resourceNames")


def everywhere(rendered):
    of_kind(rendered["kfp/overlays/prod"], "Role", "fraudloop-prover")["kind"] = "ClusterRole"


def pruned_by_argo_cd(rendered):
    of_kind(rendered["argocd"], "Application", "triton-fraud")["spec"]["syncPolicy"]["automated"] = {}


def no_headless_service(rendered):
    of_kind(rendered["triton/overlays/prod"], "Service", "triton-fraud-pods")["spec"]["clusterIP"] = "10.0.0.7"


def owned_by_nobody(rendered):
    of_kind(rendered["argocd"], "Application", "triton-fraud")["metadata"]["annotations"].popitem()


def another_taint(rendered):
    pool = of_kind(rendered["karpenter"], "NodePool", "fraudloop-gpu")
    pool["spec"]["template"]["spec"]["taints"][0]["key"] = "gpu"


def gone_between_attempts(rendered):
    of_kind(rendered["karpenter"], "NodePool", "fraudloop-gpu")["spec"]["disruption"]["consolidateAfter"] = "1m"


def a_pointer_in_the_selector(rendered):
    selector = of_kind(rendered["triton/overlays/prod"], "Deployment")["spec"]["selector"]
    selector["matchLabels"][POINTER] = "fraud-1-0a1b2c3d"


def a_metric_that_nobody_serves(rendered):
    scaler = of_kind(rendered["triton/overlays/prod"], "HorizontalPodAutoscaler")
    scaler["spec"]["metrics"].insert(0, {"type": "Pods"})


def a_generation_that_is_applied(rendered):
    of_kind(rendered["argocd"], "Application", "triton-fraud")["metadata"]["annotations"]["fraudloop.io/generation"] = (
        "0"
    )


def a_project_that_admits_rights(rendered):
    project = of_kind(rendered["argocd"], "AppProject", "fraudloop-serving")
    project["spec"]["namespaceResourceWhitelist"].append({"group": "rbac.authorization.k8s.io", "kind": "RoleBinding"})


BROKEN = [
    (checks.test_pointer_and_generation_stand_in_no_applied_manifest, a_generation_that_is_applied),
    (
        checks.test_the_project_of_serving_admits_what_is_deployed_and_nothing_that_gives_rights,
        a_project_that_admits_rights,
    ),
    (SERVING, no_startup_probe),
    (SERVING, ready_by_the_server_alone),
    (SERVING, one_pod_less_meanwhile),
    (SERVING, a_probe_that_waits_ten_minutes),
    (CLOSED, root),
    (CLOSED, a_writable_root),
    (CLOSED, memory_without_end),
    (RIGHTS, secrets),
    (RIGHTS, every_application),
    (RIGHTS, everywhere),
    (checks.test_the_loops_application_is_synced_by_the_loop_alone, pruned_by_argo_cd),
    (checks.test_names_are_those_that_the_model_registry_tells_the_deploy_stage, no_headless_service),
    (checks.test_names_are_those_that_the_model_registry_tells_the_deploy_stage, owned_by_nobody),
    (checks.test_gpu_steps_are_scheduled_on_the_pool_that_karpenter_makes, another_taint),
    (checks.test_gpu_steps_are_scheduled_on_the_pool_that_karpenter_makes, gone_between_attempts),
    (checks.test_another_version_makes_other_pods_and_leaves_the_selectors, a_pointer_in_the_selector),
]


@pytest.mark.parametrize(("check", "broken"), BROKEN, ids=[broken.__name__ for _, broken in BROKEN])
def test_a_break_is_noticed(rendered, check, broken):
    """The check passes for the manifests as they are, and not for the broken ones."""
    check(rendered)
    copied = copy.deepcopy(rendered)
    broken(copied)
    with pytest.raises((AssertionError, KeyError)):
        check(copied)


def test_a_pointer_that_the_pods_do_not_read_is_noticed(rendered, tmp_path):
    """Renamed only in the downward API, the pointer would be patched without effect."""
    copied_with(tmp_path, "base/deployment.yaml")
    with pytest.raises(AssertionError):
        checks.pointed_at(rendered, tmp_path, tmp_path)


def test_a_pointer_that_kustomize_does_not_set_is_noticed(tmp_path):
    """Renamed in the base's annotations alone: pods without a version until the first deployment."""
    copied_with(tmp_path, "base/kustomization.yaml")
    overlays = [f"triton/overlays/{name}" for name in ("dev", "prod")]
    broken = {name: render(tmp_path / "deploy" / name) for name in overlays}
    with pytest.raises(AssertionError):
        checks.test_another_version_makes_other_pods_and_leaves_the_selectors(broken)


def copied_with(folder, file):
    """deploy/ in `folder`, with the pointer renamed in one file of deploy/triton."""
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("node_modules"))
    broken = folder / "deploy/triton" / file
    assert POINTER in broken.read_text()
    broken.write_text(broken.read_text().replace(POINTER, "fraudloop.io/version"))


def test_an_application_that_is_patched_elsewhere_is_noticed(rendered, tmp_path):
    """The deploy stage patches the annotation that its code names; another name in the manifest stays as it was."""
    copied = copy.deepcopy(rendered)
    source = of_kind(copied["argocd"], "Application", "triton-fraud")["spec"]["source"]
    source["kustomize"] = {"commonAnnotations": {"fraudloop.io/version": "none"}}
    with pytest.raises(AssertionError):
        checks.pointed_at(copied, ROOT, tmp_path)


def test_an_autoscaler_that_asks_for_what_nobody_serves_is_noticed(rendered, tmp_path):
    """The metrics of an earlier default install."""
    copied = copy.deepcopy(rendered)
    a_metric_that_nobody_serves(copied)
    with pytest.raises(AssertionError):
        checks.test_the_autoscaler_asks_for_no_metric_that_a_default_install_does_not_serve(copied, tmp_path)
