// Validates custom resources against the upstream CRDs: a JSON array of objects on standard input, and on standard
// output one {index, kind, errors} for each object that is wrong or that nobody here has a schema for.
//
// Two looks, since a CRD's schema lets unknown fields through (the API server prunes them, silently): the generated
// validator for types, required fields and enumerations, and TypeScript's excess property check for fields that are not there.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

const PACKAGES = {
  "argoproj.io": "argo-cd",
  "karpenter.sh": "karpenter",
  "karpenter.k8s.aws": "karpenter",
  "monitoring.coreos.com": "prometheus-operator",
};

const path = ({ apiVersion, kind }) => `@kubernetes-models/${PACKAGES[apiVersion.split("/")[0]]}/${apiVersion}/${kind}`;

async function invalid(object) {
  let model;
  try {
    model = (await import(path(object)))[object.kind];
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

function unknown(objects) {
  const folder = mkdtempSync(join(import.meta.dirname, ".check-"));
  const lines = objects.map((object, index) => {
    const type = `import("${path(object)}").I${object.kind}`;
    return `export const o${index}: ${type} = ${JSON.stringify(object)};`;
  });
  const file = join(folder, "objects.ts");
  writeFileSync(file, lines.join("\n"));
  try {
    const options = { noEmit: true, strict: false, skipLibCheck: true, types: [], module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, target: ts.ScriptTarget.ES2022 };
    const found = ts.getPreEmitDiagnostics(ts.createProgram([file], options));
    return found.map((d) => ({
      index: d.file.getLineAndCharacterOfPosition(d.start).line,
      text: ts.flattenDiagnosticMessageText(d.messageText, " "),
    }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const objects = JSON.parse(readFileSync(0, "utf8"));
const excess = unknown(objects);
const wrong = [];
for (const [index, object] of objects.entries()) {
  const errors = [...(await invalid(object)), ...excess.filter((e) => e.index === index).map((e) => e.text)];
  if (errors.length) wrong.push({ index, kind: object.kind, errors });
}
console.log(JSON.stringify(wrong));
