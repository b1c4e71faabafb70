# syntax=docker/dockerfile:1
# The command line, for jobs in the cluster: `python -m cli.commands.slo` (deploy/slo), `cli.commands.drift`
# and `cli.commands.land` (deploy/live/score-log). No torch, no GPU.
#   docker build -f docker/operator.Dockerfile -t fraudloop-operator:0.1.0 .
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm@sha256:86adf8dbadc3d6e82ee5dd2c74bec2e1c2467cdad47886280501df722372d2e1

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY docker/operator.lock /tmp/operator.lock
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --require-hashes --no-deps -r /tmp/operator.lock \
 && /opt/venv/bin/pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
RUN pip uninstall --yes pip setuptools && useradd --uid 1000 --create-home fraudloop
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1
COPY --from=build /opt/venv /opt/venv
COPY fraudloop.toml pipelines.toml /app/
COPY statemachine /app/statemachine
COPY clients /app/clients
COPY training /app/training
# The command line knows of the local system, which it does not start here.
COPY local /app/local
COPY cli /app/cli
# What names the commit comes last: the layers above it are the same for every commit of the same code and pins.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fraudloop operator" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 1000:1000
WORKDIR /tmp
CMD ["python", "-m", "cli.commands.slo", "--help"]
