#!/usr/bin/env bash
# Build, push and record the images:  docker/images.sh REGISTRY VERSION
#   docker/images.sh 111111111111.dkr.ecr.eu-central-1.amazonaws.com 0.1.0
# A tag is VERSION-<commit>: ECR's repositories are immutable (deploy/aws/registry.yaml), so a tag is pushed once, and a
# tree with changes is refused. What was pushed stands in build/images.json by digest: the training and the Triton image are
# one pair, the pipelines (deploy/tools/pinned_pipelines.py) and the overlays take the digests from there. SBOMs lie beside it.
set -euo pipefail
registry=${1:?the registry, for instance 111111111111.dkr.ecr.eu-central-1.amazonaws.com}
version=${2:?the version, for instance 0.1.0}
cd "$(dirname "$0")/.."

if [ -n "$(git status --porcelain -- training statemachine clients cli local docker fraudloop.toml pipelines.toml)" ]; then
  echo "what the images are made of has changes that are not committed: an image must be what a commit says" >&2
  exit 1
fi
if grep -H '^ARG [A-Z_]*IMAGE=' docker/*.Dockerfile | grep -v '@sha256:' >&2; then
  echo "these bases are named by a tag alone, which may be moved: run docker/digests and commit what it writes" >&2
  exit 1
fi
revision=$(git rev-parse --short=12 HEAD)
tag=$version-$revision
mkdir -p build

push() {  # name, Dockerfile, further arguments
  local image=$registry/fraudloop/$1:$tag
  docker build --platform linux/amd64 --file "docker/$2.Dockerfile" --build-arg "VERSION=$version" \
    --build-arg "REVISION=$revision" --provenance=true --sbom=true --tag "$image" "${@:3}" . >&2
  docker push --quiet "$image" >&2
  docker sbom --format cyclonedx-json --output "build/$1.sbom.json" "$image" >&2 || echo "no SBOM of $1: docker sbom is missing" >&2
  docker inspect --format '{{index .RepoDigests 0}}' "$image"
}

stage=$(push training stage)
gpu=$(push training-gpu training ${TRAINING_ARGS:-})
triton=$(push triton triton)
shadow=$(push shadow shadow --build-arg "SERVING=$triton")
operator=$(push operator operator)
printf '{"tag": "%s", "revision": "%s", "training": "%s", "training_gpu": "%s", "triton": "%s", "shadow": "%s", "operator": "%s"}\n' \
  "$tag" "$revision" "$stage" "$gpu" "$triton" "$shadow" "$operator" | tee build/images.json
