# syntax=docker/dockerfile:1
# The shadow stage's pod: the serving image itself, and beside it the stages' code. Triton sees nothing of the latter: the
# stage takes PYTHONPATH out of its servers' environment (training/shadow/server.py).
#   docker build -f docker/shadow.Dockerfile -t fraudloop-shadow:0.1.0 .   # after docker/triton.Dockerfile
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:25.08-py3
ARG SERVING=fraudloop-triton:0.1.0

FROM ${TRITON_IMAGE} AS build
COPY docker/stage.lock docker/triton.lock /tmp/
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# What the serving image has under the same pin is taken from there, and so is torch.
RUN grep -o '^[^ =]*==[^ ;]*' /tmp/triton.lock > /tmp/served.txt \
 && awk 'NR == FNR {served[$1]; next} /^[^ ]/ {rest = !($1 in served) && !/^torch==/} rest' /tmp/served.txt /tmp/stage.lock > /tmp/rest.lock \
 && pip install --no-cache-dir --require-hashes --no-deps --target /opt/stage -r /tmp/rest.lock

# hadolint ignore=DL3006
FROM ${SERVING}
COPY --from=build /opt/stage /opt/stage
ENV PYTHONPATH=/opt/stage:/app
COPY statemachine /app/statemachine
COPY clients /app/clients
COPY training /app/training
# What names the commit comes last: the layers above it are the same for every commit of the same code and pins.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fraudloop shadow stage" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV FRAUDLOOP_CODE_VERSION=${REVISION}
USER 1000:1000
WORKDIR /tmp
CMD ["python3", "-c", "import training.pipelines.components"]
