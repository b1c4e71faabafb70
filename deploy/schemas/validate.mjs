// Validates custom resources against the upstream CRDs' schemas: a JSON array of objects on standard input, and on
// standard output one {index, kind, errors} for each object that is wrong or that nobody here has a schema for.
import { readFileSync } from "node:fs";

const PACKAGES = {
  "argoproj.io": "argo-cd",
  "karpenter.sh": "karpenter",
  "karpenter.k8s.aws": "karpenter",
  "monitoring.coreos.com": "prometheus-operator",
};

async function errors(object) {
  const [group] = object.apiVersion.split("/");
  const path = `@kubernetes-models/${PACKAGES[group]}/${object.apiVersion}/${object.kind}`;
  let model;
  try {
    model = (await import(path))[object.kind];
  } catch (error) {
    return [`no schema: ${error.message}`];
  }
  try {
    new model(object).validate();
    return [];
  } catch (error) {
    return [error.message];
  }
}

const objects = JSON.parse(readFileSync(0, "utf8"));
const wrong = [];
for (const [index, object] of objects.entries()) {
  const found = await errors(object);
  if (found.length) wrong.push({ index, kind: object.kind, errors: found });
}
console.log(JSON.stringify(wrong));
