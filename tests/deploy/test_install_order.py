"""docs/install.md, typed in its order: every `kubectl apply` and `delete`, on a model of a cluster's namespaces."""

import re
import shlex

import pytest
from manifests import ROOT, render

TEXT = (ROOT / "docs/install.md").read_text()
INSTALL, REMOVAL = TEXT.split("## How to remove it all")
# What the page requires beforehand: namespaces, and API groups with their CRDs.
BEFORE = {"default", "kube-system", "argocd"}
GROUPS = {
    "",
    "apps",
    "batch",
    "policy",
    "autoscaling",
    "networking.k8s.io",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
}
GROUPS |= {"admissionregistration.k8s.io", "argoproj.io", "karpenter.sh", "karpenter.k8s.aws"}
CLUSTER = {
    "Namespace",
    "StorageClass",
    "NodePool",
    "EC2NodeClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
# Remote bases cannot be rendered offline: the namespaces that they need and make, as their manifests say.
REMOTE = {"deploy/kfp/upstream": {"kubeflow"}, "deploy/katib/upstream": {"kubeflow"}}


def commands(text):
    """Every `kubectl apply|delete -k`, in blocks and in prose, in the order of the page."""
    found = re.findall(r"kubectl (?:-n [\w-]+ )?(?:apply|delete) [^`\n]*", text)
    return [shlex.split(command, comments=True) for command in found if " -k " in command]


def folders(words):
    return [words[place + 1] for place, word in enumerate(words) if word == "-k"]


@pytest.mark.parametrize("words", commands(TEXT), ids=" ".join)
def test_a_command_names_one_folder(words):
    """kubectl's -k is no list: of several the last one counts, silently."""
    assert len(folders(words)) == 1
    assert (ROOT / folders(words)[0] / "kustomization.yaml").is_file()


class Cluster:
    """As much of an API server as can refuse an object: its namespaces and the groups that it knows."""

    def __init__(self):
        self.namespaces, self.applied, self.refused = set(BEFORE), [], []

    def apply(self, folder):
        self.applied.append(folder)
        if folder in REMOTE:
            self.namespaces |= REMOTE[folder]
            return
        for o in render(ROOT / folder):  # namespaces first, as kustomize writes them
            name, namespace = o["metadata"]["name"], o["metadata"].get("namespace")
            group = o["apiVersion"].rpartition("/")[0]
            if group not in GROUPS:
                self.refused.append(f"{folder}: no matches for kind {o['kind']}")
            if o["kind"] == "Namespace":
                self.namespaces.add(name)
            elif o["kind"] in CLUSTER:
                if namespace:
                    self.refused.append(f"{folder}: {o['kind']} {name} belongs to no namespace")
            elif not namespace or namespace not in self.namespaces:
                self.refused.append(f"{folder}: {o['kind']} {name}: namespaces {namespace!r} not found")


def installed():
    cluster = Cluster()
    for words in commands(INSTALL):
        if "apply" in words:
            cluster.apply(folders(words)[0])
    return cluster


def test_applied_in_the_pages_order_nothing_is_refused():
    """Every namespace is there before something is put into it."""
    assert installed().refused == []


def test_an_overlay_before_its_namespace_is_noticed():
    """As the page was: a Role in `triton` before anything made it."""
    cluster = Cluster()
    for words in commands(INSTALL):
        if "apply" in words and folders(words)[0] != "deploy/triton/namespace":
            cluster.apply(folders(words)[0])
    assert any("namespaces 'triton' not found" in words for words in cluster.refused)


def test_what_was_applied_is_removed():
    """Each folder, and a namespace after its contents. Argo CD had applied Triton's own folder."""
    removed = [folders(words)[0] for words in commands(REMOVAL) if "delete" in words]
    assert set(removed) == {*installed().applied, "deploy/triton/overlays/prod"}
    assert removed.index("deploy/kfp/overlays/prod") < removed.index("deploy/triton/namespace")
    assert removed.index("deploy/katib") < removed.index("deploy/katib/upstream")


def test_every_folder_of_deploy_is_installed_or_said_to_be_optional():
    """Every folder is in a command or a sentence of the page."""
    every = {str(file.parent.relative_to(ROOT)) for file in (ROOT / "deploy").rglob("kustomization.yaml")}
    every = {folder for folder in every if "node_modules" not in folder}
    parts = {folder for folder in every if re.search(r"/base$|/overlays/dev$|/components/gpu$", folder)}
    assert {folder for folder in every - parts if folder.removeprefix("deploy/triton/") not in TEXT} == set()
