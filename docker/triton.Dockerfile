# syntax=docker/dockerfile:1
# Triton with what model.py imports. Recorded as a pair with the training image (docker/images.sh): a version's code was
# trained and is served with the same pins. Since 25.01 the server's own Python is 3.12, for which the pins have wheels.
#   docker build -f docker/triton.Dockerfile -t fraudloop-triton:0.1.0 .
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:25.08-py3

FROM ${TRITON_IMAGE}
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY docker/triton.lock /tmp/triton.lock
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# The python backend takes the server's own interpreter, so the pins go beside it; pip is gone afterwards.
RUN awk '/^[^ ]/ {rest = !/^torch==/} rest' /tmp/triton.lock > /tmp/rest.lock \
 && pip install --no-cache-dir --require-hashes --no-deps -r /tmp/rest.lock \
 && pip install --no-cache-dir --index-url "${TORCH_INDEX}" "$(grep -o '^torch==[^ ;]*' /tmp/triton.lock)" \
 && pip uninstall --yes pip && rm /tmp/*.lock
# Why: training/shadow/server.py, ENVIRONMENT
ENV OMP_WAIT_POLICY=passive OPENBLAS_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=134217728 MALLOC_TRIM_THRESHOLD_=134217728
ENV PYTHONUNBUFFERED=1
# What names the commit comes last: the layers above it are the same for every commit of the same code and pins.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fraudloop Triton" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 1000:1000
WORKDIR /tmp
CMD ["tritonserver", "--model-repository=/models", "--model-control-mode=none", "--exit-on-error=true"]
