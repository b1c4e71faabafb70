"""deploy/kfp: what an EKS cluster needs that upstream's manifests do not bring, and what applying them again leaves."""

import re

import pytest
import yaml
from manifests import ROOT, core_problems, of_kind, render

KFP = ROOT / "deploy/kfp"
# What upstream 2.17.0 would overwrite: manifests/kustomize/cluster-scoped-resources/namespace.yaml and
# base/pipeline/kfp-launcher-configmap.yaml. (Its ServiceAccount pipeline-runner is none of ours.)
SHARED = {("Namespace", "kubeflow"), ("ConfigMap", "kfp-launcher")}


@pytest.fixture(scope="module", params=["dev", "prod"])
def overlay(request):
    return render(KFP / "overlays" / request.param)


def test_applying_upstream_again_takes_nothing_away(overlay):
    """Both objects that it shares with us are left out of it; whatever else it has, it does not name ours."""
    upstream = yaml.safe_load((KFP / "upstream/kustomization.yaml").read_text())
    patches = [yaml.safe_load(one["patch"]) for one in upstream["patches"]]
    deleted = [one for one in patches if one.get("$patch") == "delete"]
    assert {(one["kind"], one["metadata"]["name"]) for one in deleted} == SHARED
    ours = {(one["kind"], one["metadata"]["name"]) for one in overlay}
    assert ours >= SHARED
    assert all("fraudloop" in name for _, name in ours - SHARED)


def test_the_stages_have_an_account_of_their_own(overlay):
    """Upstream's pipeline-runner may get secrets and enter pods; ours has exactly the rights of our Roles."""
    account = of_kind(overlay, "ServiceAccount")["metadata"]["name"]
    assert account == "fraudloop-stage"
    for binding in (one for one in overlay if one["kind"] == "RoleBinding"):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "kubeflow"}]
    for role in (one for one in overlay if one["kind"] == "Role"):
        for rule in role["rules"]:
            assert not {"secrets", "pods/exec", "deployments"} & set(rule["resources"])
            assert rule["resources"] != ["pods"] or rule["verbs"] == ["get"]
    upstream = yaml.safe_load((KFP / "upstream/kustomization.yaml").read_text())["patches"]
    (server,) = (one for one in (yaml.safe_load(one["patch"]) for one in upstream) if one["kind"] == "Deployment")
    (container,) = server["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "DEFAULTPIPELINERUNNERSERVICEACCOUNT", "value": account}]
    template = (ROOT / "template.yaml").read_text()
    for file in (
        template,
        (ROOT / "deploy/aws/roles.yaml").read_text(),
        (ROOT / "cli/migration/phases/environment.py").read_text(),
    ):
        assert account in file
        assert "pipeline-runner" not in file


def test_the_load_balancer_reaches_its_targets(overlay):
    """With a custom security group, the controller adds no rule to the nodes' group unless an annotation says so."""
    annotations = of_kind(overlay, "Service", "fraudloop-kfp")["metadata"]["annotations"]
    prefix = "service.beta.kubernetes.io/aws-load-balancer-"
    assert annotations[f"{prefix}security-groups"].startswith("sg-")
    assert annotations[f"{prefix}manage-backend-security-group-rules"] == "true"


def test_every_fact_of_the_account_stands_in_the_overlay(overlay):
    """Bucket, region, range, group and role: the base contains none of them."""
    base = "".join(path.read_text() for path in sorted((KFP / "base").glob("*.yaml")))
    assert re.search(r"region: set-by-the-overlay", base)
    assert "192.0.2.0/24" in base  # RFC 5737: a documentation range
    assert not re.search(r"\b(eu|us|ap)-[a-z]+-\d\b|\b10\.\d+\.\d+\.\d+", base)
    text = yaml.safe_dump_all(overlay)
    assert "set-by-the-overlay" not in text
    assert "192.0.2.0" not in text
    store = of_kind(overlay, "ConfigMap", "kfp-launcher")["data"]
    assert yaml.safe_load(store["providers"])["s3"]["default"]["region"]
    assert store["defaultPipelineRoot"].startswith("s3://")


def test_the_default_storage_class_is_one_that_ebs_can_make(tmp_path):
    """EKS has none since 1.30, and KFP's volume claims name none."""
    objects = render(KFP / "storage")
    made = of_kind(objects, "StorageClass")
    assert made["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
    assert (made["provisioner"], made["parameters"]["type"]) == ("ebs.csi.aws.com", "gp3")
    assert core_problems(objects, tmp_path) == []


def test_multi_user_rights_are_in_the_profile_and_bind_the_accounts_that_get_tokens(tmp_path):
    """The token's account is in KFP's own namespace, where deploy/kfp/token-rotation creates the token."""
    objects = render(KFP / "multi-user")
    rotation = render(KFP / "token-rotation")
    token = of_kind(rotation, "ServiceAccount")["metadata"]
    controller = of_kind(objects, "RoleBinding", "fraudloop-controller")
    assert controller["subjects"] == [
        {"kind": "ServiceAccount", "name": token["name"], "namespace": token["namespace"]}
    ]
    assert controller["metadata"]["namespace"] == "fraudloop"
    subject = f"system:serviceaccount:{token['namespace']}:{token['name']}"
    assert subject in (ROOT / "deploy/aws/roles.yaml").read_text()  # not in the namespace in which runs live
    (admitted,) = of_kind(objects, "NetworkPolicy")["spec"]["ingress"]
    assert admitted["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "fraudloop"}}}]
    for one in objects:
        for rule in one.get("rules", ()):
            assert "*" not in (*rule["verbs"], *rule["resources"], *rule["apiGroups"])
            assert "secrets" not in rule["resources"]
    bound = {one["metadata"]["namespace"] for one in objects if one["kind"] == "RoleBinding"}
    assert bound == {"fraudloop", "argocd", "triton"}
    assert core_problems(objects, tmp_path) == []


def test_the_page_names_what_must_be_there_first():
    """docs/install.md, step 4: the driver and class of the volumes, and the CNI's switch."""
    step = (ROOT / "docs/install.md").read_text().partition("## 4.")[2].partition("## 5.")[0]
    order = ["aws-ebs-csi-driver", "deploy/kfp/storage", "enableNetworkPolicy", "deploy/kfp/overlays/prod", "deploy/kfp/upstream"]  # fmt: skip  # noqa: E501
    places = [step.index(word) for word in order]
    assert places == sorted(places)
    pinned = re.search(r"\?ref=([\d.]+)", (KFP / "upstream/kustomization.yaml").read_text())
    assert pinned is not None
    assert f"KFP {pinned[1]}" in step
