"""ValidatingAdmissionPolicies as kube-apiserver evaluates them, by Google's own CEL (C++; the server's is in Go).

As in k8s.io/apiserver `admission/plugin/policy/validating`: `object`, `oldObject`, `request`, `variables` are dynamic;
an expression that errs denies (failurePolicy Fail). Not imitated: cost limits, paramKind, namespaceObject, authorizer.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from cel_expr_python import cel

ENV = cel.NewEnv(variables=dict.fromkeys(("object", "oldObject", "request", "variables"), cel.Type.DYN))


@cache
def compiled(expression):
    return ENV.compile(expression)


def evaluated(expression, data):
    """The plain value. Raises ValueError for an expression that errs."""
    found = compiled(expression).eval(data=data)
    if found.type() == cel.Type.ERROR:
        raise ValueError(f"{expression}: {found.value()}")
    return found.plain_value()


@dataclass(frozen=True)
class Admission:
    """The policies of rendered manifests that are bound with the action Deny."""

    objects: tuple

    def policies(self):
        bound = {
            o["spec"]["policyName"]
            for o in self.objects
            if o["kind"] == "ValidatingAdmissionPolicyBinding" and o["spec"]["validationActions"] == ["Deny"]
        }
        return [o for o in self.objects if o["kind"] == "ValidatingAdmissionPolicy" and o["metadata"]["name"] in bound]

    def denied(self, old, new, user):
        """Returns why the policies deny an update by `user`, in their own words; empty if it is admitted."""
        data = {"object": new, "oldObject": old, "request": {"userInfo": {"username": user}}, "variables": {}}
        found = []
        for policy in self.policies():
            spec = policy["spec"]
            assert spec["failurePolicy"] == "Fail"
            if all(evaluated(condition["expression"], data) for condition in spec["matchConditions"]):
                found += list(_violations(spec, data))
        return found

    def __call__(self, old, new, user):
        """As `local.argocd.record.Admit`: the first denial, in the server's words."""
        for policy in self.policies():
            name = policy["metadata"]["name"]
            for words in Admission((*self._bindings(), policy)).denied(old, new, user):
                return f"ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request: {words}"
        return ""

    def _bindings(self):
        return (o for o in self.objects if o["kind"] == "ValidatingAdmissionPolicyBinding")


def _violations(spec, data):
    variables: dict[str, Any] = {}
    for variable in spec.get("variables", ()):
        variables[variable["name"]] = evaluated(variable["expression"], {**data, "variables": variables})
    for rule in spec["validations"]:
        try:
            held = evaluated(rule["expression"], {**data, "variables": variables})
        except ValueError as error:
            yield f"expression '{rule['expression']}' resulted in error: {error}"
            continue
        assert held in (True, False), rule
        if not held:
            yield rule["message"]
