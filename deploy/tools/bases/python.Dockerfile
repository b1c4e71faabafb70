# In place of python:3.11-slim-bookworm: the same distribution, and its Python where the official image has one. Only for
# `make check-images`; its context is the folder with mmdebstrap's archive.
FROM scratch
ADD debian.tar /
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /usr/local
CMD ["bash"]
