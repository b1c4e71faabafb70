# syntax=docker/dockerfile:1
# The stages that need no GPU: preprocess, materialise, evaluate, export, deploy, restore; also the fetch step of a Triton pod.
#   docker build -f docker/stage.Dockerfile -t fraudloop-training:0.1.0 .
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm@sha256:86adf8dbadc3d6e82ee5dd2c74bec2e1c2467cdad47886280501df722372d2e1

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
# torch comes last, without a hash and from an index of its own: its CPU build needs none of CUDA's gigabytes.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY docker/stage.lock /tmp/stage.lock
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN awk '/^[^ ]/ {rest = !/^torch==/} rest' /tmp/stage.lock > /tmp/rest.lock \
 && /opt/venv/bin/pip install --require-hashes --no-deps -r /tmp/rest.lock \
 && /opt/venv/bin/pip install --index-url "${TORCH_INDEX}" "$(grep -o '^torch==[^ ;]*' /tmp/stage.lock)" \
 && /opt/venv/bin/pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
RUN pip uninstall --yes pip setuptools && useradd --uid 1000 --create-home fraudloop
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=passive
COPY --from=build /opt/venv /opt/venv
COPY statemachine /app/statemachine
COPY clients /app/clients
COPY training /app/training
# What names the commit comes last: the layers above it are the same for every commit of the same code and pins.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fraudloop training" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV FRAUDLOOP_CODE_VERSION=${REVISION}
USER 1000:1000
WORKDIR /tmp
CMD ["python", "-c", "import training.pipelines.components"]
