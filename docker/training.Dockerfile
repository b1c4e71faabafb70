# syntax=docker/dockerfile:1
# The train stage on a GPU. BASE_IMAGE is plain CUDA by default; NVIDIA's PyG or financial-fraud-training container works
# as well: what it brings of torch stays (BUNDLED_TORCH=1), the rest of the lock is added.
#   docker build -f docker/training.Dockerfile -t fraudloop-training-gpu:0.1.0 .
#   docker build -f docker/training.Dockerfile --build-arg BASE_IMAGE=nvcr.io/nvidia/pyg:25.08-py3 --build-arg BUNDLED_TORCH=1 .
ARG BASE_IMAGE=nvidia/cuda:12.8.1-runtime-ubuntu24.04@sha256:ebef3c171eeef0298e4eb2e4be843105edf3b8b0ac45e0b43acee358e8046867

FROM ${BASE_IMAGE} AS build
# hadolint ignore=DL3002
USER 0
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 DEBIAN_FRONTEND=noninteractive
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
ARG BUNDLED_TORCH=0
ARG TORCH_INDEX=https://download.pytorch.org/whl/cu128
COPY docker/stage.lock /tmp/stage.lock
RUN python3 -m venv --system-site-packages /opt/venv \
 && awk '/^[^ ]/ {rest = !/^torch==/} rest' /tmp/stage.lock > /tmp/rest.lock \
 && /opt/venv/bin/pip install --require-hashes --no-deps -r /tmp/rest.lock \
 && if [ "${BUNDLED_TORCH}" = 0 ]; then \
      /opt/venv/bin/pip install --index-url "${TORCH_INDEX}" "$(grep -o '^torch==[^ ;]*' /tmp/stage.lock)"; \
    else python3 -c 'import torch; print("kept torch", torch.__version__)'; fi \
 && /opt/venv/bin/pip uninstall --yes pip

FROM ${BASE_IMAGE}
USER 0
ARG BASE_IMAGE
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3 libgomp1 && rm -rf /var/lib/apt/lists/* \
 && (id -u 1000 >/dev/null 2>&1 || useradd --uid 1000 --create-home fraudloop)
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=passive
COPY --from=build /opt/venv /opt/venv
COPY statemachine /app/statemachine
COPY clients /app/clients
COPY training /app/training
# What names the commit comes last: the layers above it are the same for every commit of the same code and pins.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fraudloop training on a GPU" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV FRAUDLOOP_CODE_VERSION=${REVISION}
USER 1000:1000
WORKDIR /tmp
CMD ["python3", "-c", "import training.pipelines.components"]
