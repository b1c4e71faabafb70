# syntax=docker/dockerfile:1
# The web console as a Lambda behind a load balancer (deploy/aws/console.yaml). No torch, no GPU.
#   docker build -f docker/console.Dockerfile -t fraudloop-console:0.1.0 .
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm@sha256:86adf8dbadc3d6e82ee5dd2c74bec2e1c2467cdad47886280501df722372d2e1

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY docker/console.lock /tmp/console.lock
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --require-hashes --no-deps -r /tmp/console.lock \
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
LABEL org.opencontainers.image.title="fraudloop console" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 1000:1000
WORKDIR /tmp
ENTRYPOINT ["python", "-m", "awslambdaric"]
CMD ["cli.console.alb.handler"]
