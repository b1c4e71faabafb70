"""The API server accepts every object that we would apply, and each has what the design requires."""

import copy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from manifests import FOLDERS, ROOT, core_problems, custom_problems, of_kind, render

from training.deployment.argocd import GENERATION, OWNER, POINTER, Application

BUILT_IN = {
    "v1",
    "apps/v1",
    "batch/v1",
    "policy/v1",
    "autoscaling/v2",
    "networking.k8s.io/v1",
    "rbac.authorization.k8s.io/v1",
    "storage.k8s.io/v1",
    "admissionregistration.k8s.io/v1",
}


def custom(objects):
    return [o for o in objects if o["apiVersion"] not in BUILT_IN]


@pytest.mark.parametrize("folder", FOLDERS)
def test_built_in_objects_pass_the_api_servers_schema_strictly(rendered, folder, tmp_path):
    """Kubernetes 1.33, unknown fields refused."""
    assert core_problems([o for o in rendered[folder] if o["apiVersion"] in BUILT_IN], tmp_path) == []


def test_custom_resources_pass_their_upstream_crds(rendered):
    """Karpenter, Argo CD: by the CRDs' schema, unknown fields refused."""
    objects = [o for folder in FOLDERS for o in custom(rendered[folder])]
    assert {o["kind"] for o in objects} >= {"NodePool", "EC2NodeClass", "Application", "AppProject"}
    assert custom_problems(objects) == []


def test_a_broken_manifest_is_found(rendered, tmp_path):
    """A typo in a probe, a string for a number, an unknown field of a NodePool, a value Karpenter does not know."""
    deployment = copy.deepcopy(of_kind(rendered["triton/overlays/prod"], "Deployment"))
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["startupProbes"] = container.pop("startupProbe")
    assert core_problems([deployment], tmp_path)
    budget = copy.deepcopy(of_kind(rendered["triton/overlays/prod"], "HorizontalPodAutoscaler"))
    budget["spec"]["maxReplicas"] = "six"
    assert core_problems([budget], tmp_path)
    pool = copy.deepcopy(of_kind(rendered["karpenter"], "NodePool"))
    pool["spec"]["disruption"]["consolidateWhen"] = "Later"
    other = copy.deepcopy(of_kind(rendered["karpenter"], "NodePool"))
    other["spec"]["disruption"]["consolidationPolicy"] = "WhenBored"
    stranger = {"apiVersion": "karpenter.sh/v1", "kind": "NodePile", "metadata": {"name": "x"}}
    assert [found["index"] for found in custom_problems([pool, other, stranger])] == [0, 1, 2]


def test_the_pointer_that_the_deploy_stage_patches_is_the_one_the_pods_read(rendered, tmp_path):
    """Application → kustomize's commonAnnotations → pod template → downward API → what the init container fetches."""
    pointed_at(rendered, ROOT, tmp_path)


def pointed_at(rendered, root, tmp_path):
    """The whole way, with the manifests under `root`."""
    application = of_kind(rendered["argocd"], "Application", "triton-fraud")
    live = Application({**application, "metadata": {**application["metadata"], "resourceVersion": "7"}})
    patched = merge(application, live.pointing("fraud-9-0a1b2c3d", 4))
    assert patched["metadata"]["annotations"][GENERATION] == "4"
    annotations = patched["spec"]["source"]["kustomize"]["commonAnnotations"]
    assert annotations == {POINTER: "fraud-9-0a1b2c3d"}

    # What Argo CD does with the source: `kustomize edit add annotation --force`, in the folder that the path names.
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    target = root / application["spec"]["source"]["path"]
    assert target.is_dir()
    lines = [f"resources: [{relative(target, overlay)}]", "commonAnnotations:"]
    lines += [f"  {name}: {value}" for name, value in annotations.items()]
    (overlay / "kustomization.yaml").write_text("\n".join(lines) + "\n")
    template = of_kind(render(overlay), "Deployment", "triton-fraud")["spec"]["template"]
    assert template["metadata"]["annotations"][POINTER] == "fraud-9-0a1b2c3d"
    for container in (*template["spec"]["initContainers"], *template["spec"]["containers"]):
        (version,) = [e for e in container["env"] if e["name"] == "MODEL_VERSION"]
        assert version["valueFrom"]["fieldRef"]["fieldPath"] == f"metadata.annotations['{POINTER}']"
    fetch = template["spec"]["initContainers"][0]["command"]
    assert fetch[1:4] == ["-m", "training.serving.fetch", "$(MODELS_URI)/$(MODEL_VERSION)"]


def test_another_version_makes_other_pods_and_leaves_the_selectors(rendered):
    """The annotation is on the pod template, so a change rolls; selectors are immutable, so it may not be there."""
    for folder in ("triton/overlays/dev", "triton/overlays/prod"):
        deployment = of_kind(rendered[folder], "Deployment")
        assert POINTER in deployment["spec"]["template"]["metadata"]["annotations"]
        assert POINTER not in str(deployment["spec"]["selector"])


def test_names_are_those_that_the_model_registry_tells_the_deploy_stage(rendered):
    """[models.fraud.serving] and the manifests name the same Application, namespace and Service."""
    serving = tomllib.loads((ROOT / "fraudloop.toml").read_text())["models"]["fraud"]["serving"]
    application = of_kind(rendered["argocd"], "Application", serving["application"])
    assert application["metadata"]["namespace"] == serving["application_namespace"]
    assert application["metadata"]["annotations"][OWNER] == "controller"
    service = of_kind(rendered["triton/overlays/prod"], "Service", serving["service"])
    assert service["metadata"]["namespace"] == serving["namespace"] == application["spec"]["destination"]["namespace"]
    assert service["spec"]["clusterIP"] == "None"
    assert "http" in {port["name"] for port in service["spec"]["ports"]}


def test_the_loops_application_is_synced_by_the_loop_alone(rendered):
    """No auto-sync, and no pruning parent: both would undo what the deploy stage does."""
    application = of_kind(rendered["argocd"], "Application", "triton-fraud")
    assert "automated" not in application["spec"]["syncPolicy"]
    others = [o for o in rendered["argocd"] if o["kind"] == "Application" and o is not application]
    assert all(o["spec"]["source"]["path"] not in ("deploy/argocd", "deploy/triton") for o in others)


def test_pointer_and_generation_stand_in_no_applied_manifest(rendered):
    """Applying again would reset them. The loop writes both, and tests/deploy/test_reapply.py applies again."""
    for folder in FOLDERS:
        for o in rendered[folder]:
            if o["kind"] == "Application":
                assert GENERATION not in o["metadata"].get("annotations", {})
                assert "kustomize" not in o["spec"]["source"]


def test_the_autoscaler_asks_for_no_metric_that_a_default_install_does_not_serve(rendered, tmp_path):
    """metrics-server serves only `resource`. With an unknown metric the autoscaler never scales down and is
    Degraded.
    """
    for folder in ("triton/overlays/dev", "triton/overlays/prod"):
        scaler = of_kind(rendered[folder], "HorizontalPodAutoscaler")
        assert [metric["type"] for metric in scaler["spec"]["metrics"]] == ["Resource"]
        containers = of_kind(rendered[folder], "Deployment")["spec"]["template"]["spec"]["containers"]
        assert all("cpu" in container["resources"]["requests"] for container in containers), (
            "utilization needs a request"
        )
        # gitops-engine `health_hpa.go`: FailedGetResourceMetric, which a first pod has for a minute, is Degraded.
        assert scaler["metadata"]["annotations"]["argocd.argoproj.io/ignore-healthcheck"] == "true"
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    lines = [
        f"resources: [{relative(ROOT / 'deploy/triton/overlays/prod', overlay)}]",
        f"components: [{relative(ROOT / 'deploy/triton/components/queue', overlay)}]",
    ]
    (overlay / "kustomization.yaml").write_text("\n".join(lines) + "\n")
    objects = render(overlay)
    metrics = of_kind(objects, "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert [metric["type"] for metric in metrics] == ["Pods", "Resource"]
    assert core_problems(objects, tmp_path) == []


def test_the_project_of_serving_admits_what_is_deployed_and_nothing_that_gives_rights(rendered):
    """One repository, one namespace, and just the kinds that the overlays render."""
    application = of_kind(rendered["argocd"], "Application", "triton-fraud")["spec"]
    project = of_kind(rendered["argocd"], "AppProject", application["project"])["spec"]
    assert project["sourceRepos"] == [application["source"]["repoURL"]]
    assert project["destinations"] == [application["destination"]]
    kinds = {(o["apiVersion"].rpartition("/")[0], o["kind"]) for o in rendered["triton/overlays/prod"]}
    allowed = {(k["group"], k["kind"]) for k in project["namespaceResourceWhitelist"]}
    assert kinds == allowed | {("", "Namespace")}
    assert [k["kind"] for k in project["clusterResourceWhitelist"]] == ["Namespace"]
    users = [
        o for o in rendered["argocd"] if o["kind"] == "Application" and o["spec"]["project"] == application["project"]
    ]
    assert len(users) == 1


def test_the_old_version_answers_until_the_new_one_is_ready(rendered):
    """Zero unavailable, ready by the model, started within the deploy stage's ten minutes, and time to drain."""
    spec = of_kind(rendered["triton/overlays/prod"], "Deployment")["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    container = spec["template"]["spec"]["containers"][0]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/models/fraud_score/ready"
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] <= 300
    assert spec["progressDeadlineSeconds"] < 600
    assert (
        container["lifecycle"]["preStop"]["sleep"]["seconds"]
        < spec["template"]["spec"]["terminationGracePeriodSeconds"]
    )


def test_pods_run_without_root_and_without_a_writable_root(rendered):
    """Also without privilege escalation, capabilities and a token of the API server that they do not use."""
    for folder in ("triton/overlays/prod", "kfp/token-rotation", "monitoring", "slo", "live/score-log"):
        for o in rendered[folder]:
            if o["kind"] not in ("Deployment", "CronJob", "StatefulSet", "DaemonSet"):
                continue
            job = o["spec"].get("jobTemplate", {}).get("spec", o["spec"])
            pod = job["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] is True, o["metadata"]["name"]
            assert pod["automountServiceAccountToken"] is False
            for container in (*pod.get("initContainers", ()), *pod["containers"]):
                closed = container["securityContext"]
                assert closed["readOnlyRootFilesystem"] is True
                assert closed["allowPrivilegeEscalation"] is False
                assert closed["capabilities"] == {"drop": ["ALL"]}
                assert container["resources"]["limits"]["memory"]


def test_the_gpu_exporter_has_no_more_than_the_kubelets_socket_asks(rendered):
    """Root for that one socket, read only, in a namespace of its own; no capability, and no GPU taken."""
    pod = of_kind(rendered["gpu-metrics"], "DaemonSet")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert not pod.get("hostNetwork")
    assert not pod.get("hostPID")
    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    [host] = [volume for volume in pod["volumes"] if "hostPath" in volume]
    assert host["hostPath"]["path"] == "/var/lib/kubelet/pod-resources"
    assert [m["readOnly"] for m in container["volumeMounts"] if m["name"] == host["name"]] == [True]
    pool = of_kind(rendered["karpenter"], "NodePool", "fraudloop-gpu")["spec"]["template"]
    assert pod["nodeSelector"].items() <= pool["metadata"]["labels"].items()
    assert {t["key"] for t in pool["spec"]["taints"]} <= {t["key"] for t in pod["tolerations"]}


def test_what_prometheus_scrapes_is_there(rendered):
    """Each name in its configuration is a Service that we render, with that port."""
    services = {
        (o["metadata"]["name"], o["metadata"]["namespace"], port["port"])
        for folder in ("monitoring", "gpu-metrics", "triton/overlays/prod")
        for o in rendered[folder]
        if o["kind"] == "Service"
        for port in o["spec"]["ports"]
    }
    jobs = yaml.safe_load((ROOT / "monitoring/prometheus.yml").read_text())["scrape_configs"]
    found = {tuple(t.split(":")) for job in jobs for s in job.get("static_configs", ()) for t in s["targets"]}
    asked = {(name, "monitoring", int(port)) for name, port in found}
    for each in (each for job in jobs for each in job.get("dns_sd_configs", ())):
        asked |= {(*name.removesuffix(".svc.cluster.local").split("."), each["port"]) for name in each["names"]}
    assert asked <= services
    assert len(asked) == len(jobs) == 3


def test_the_objectives_are_pushed_where_prometheus_looks(rendered):
    """The job's command exists with these options, and its Pushgateway is a Service of the same namespace."""
    job = of_kind(rendered["slo"], "CronJob")
    [container] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    python, *words = container["command"]
    url = words[words.index("--push") + 1]
    assert (
        url.removeprefix("http://").split(":")[0]
        == of_kind(rendered["monitoring"], "Service", "pushgateway")["metadata"]["name"]
    )
    assert job["metadata"]["namespace"] == "monitoring"
    ran = subprocess.run([sys.executable, *words, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (python, ran.returncode) == ("python", 0), ran.stderr


def test_the_score_log_s_commands_exist(rendered, tmp_path):
    """All commands take these options, and their Pushgateway is a Service of the same namespace."""
    pods = [
        of_kind(rendered["live/score-log"], "Deployment")["spec"]["template"]["spec"],
        *(
            of_kind(rendered["live/score-log"], "CronJob", name)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
            for name in ("fraudloop-drift", "fraudloop-land")
        ),
    ]
    gateway = of_kind(rendered["monitoring"], "Service", "pushgateway")["metadata"]
    for pod in pods:
        [container] = pod["containers"]
        ran = subprocess.run(
            [sys.executable, *container["command"][1:], "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stderr
        options = [word for word in container["command"] if word.startswith("--")]
        assert all(option in ran.stdout for option in options)
    settings = of_kind(rendered["live/score-log"], "ConfigMap")
    assert settings["data"]["FRAUDLOOP_PUSHGATEWAY"] == f"http://{gateway['name']}:9091"
    assert settings["metadata"]["namespace"] == gateway["namespace"]


def test_the_nodes_of_a_training_are_admitted_and_closed(tmp_path):
    """Kubeflow Trainer's models read the runtime; its pods are as closed as the stage's; the rights are one kind's."""
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="kubeflow-trainer-api is not installed")
    objects = render(ROOT / "deploy/kfp/trainer")
    assert core_problems([o for o in objects if o["apiVersion"] in BUILT_IN], tmp_path) == []
    runtime = of_kind(objects, "TrainingRuntime")
    assert models.TrainerV1alpha1TrainingRuntime.from_dict(runtime).to_dict() == runtime
    [node] = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    pod = node["template"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    [container] = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    [rule] = of_kind(objects, "Role")["rules"]
    assert rule == {
        "apiGroups": ["trainer.kubeflow.org"],
        "resources": ["trainjobs"],
        "verbs": ["create", "get", "list", "delete"],
    }


def test_the_stage_pods_may_move_one_application_and_read_no_secret(rendered):
    """Namespaced roles, the Application by its name, and neither secrets nor wildcards anywhere."""
    for folder in FOLDERS:
        for o in rendered[folder]:
            assert o["kind"] not in ("ClusterRole", "ClusterRoleBinding"), f"{folder}: {o['metadata']['name']}"
            for rule in o.get("rules", ()) if o["kind"] == "Role" else ():
                assert "*" not in (*rule["verbs"], *rule["resources"], *rule["apiGroups"])
                assert "secrets" not in rule["resources"]
    deployer = of_kind(rendered["kfp/overlays/prod"], "Role", "fraudloop-deployer")
    assert deployer["metadata"]["namespace"] == "argocd"
    assert deployer["rules"] == [
        {
            "apiGroups": ["argoproj.io"],
            "resources": ["applications"],
            "resourceNames": ["triton-fraud"],
            "verbs": ["get", "patch"],
        }
    ]


def test_gpu_steps_are_scheduled_on_the_pool_that_karpenter_makes(rendered):
    """pipelines.toml's tolerations match the pool's taint, and its node selector is a label that Karpenter gives."""
    train = tomllib.loads((ROOT / "pipelines.toml").read_text())["steps"]["train"]
    pool = of_kind(rendered["karpenter"], "NodePool", "fraudloop-gpu")["spec"]
    for taint in pool["template"]["spec"]["taints"]:
        assert any(t["key"] == taint["key"] and t["effect"] == taint["effect"] for t in train["tolerations"])
    labels = {*pool["template"]["metadata"]["labels"], "karpenter.k8s.aws/instance-gpu-manufacturer"}
    assert set(train["node_selector"]) <= labels
    backoff = tomllib.loads((ROOT / "fraudloop.toml").read_text())["models"]["fraud"]["policy"]["backoff_cap"]
    assert int(pool["disruption"]["consolidateAfter"].removesuffix("m")) * 60 > backoff, (
        "the node goes between attempts"
    )


def relative(target: Path, start: Path) -> str:
    import os

    return os.path.relpath(target, start)


def merge(value, patch):
    """RFC 7386."""
    if not isinstance(patch, dict) or not isinstance(value, dict):
        return patch
    merged = {**value}
    for key, part in patch.items():
        if part is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(value.get(key, {}), part)
    return merged
