# In place of NVIDIA's Triton image: the CPU server of the nvidia-pytriton wheel, laid out as in that image. Only for
# `make check-images`; its context is the folder that the wheel is installed in.
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE}
RUN apt-get update && apt-get install --yes --no-install-recommends libpython3.11 && rm -rf /var/lib/apt/lists/*
COPY nvidia_pytriton.libs /opt/tritonserver/lib
COPY pytriton/tritonserver/bin /opt/tritonserver/bin
COPY pytriton/tritonserver/caches /opt/tritonserver/caches
COPY pytriton/tritonserver/backends /opt/tritonserver/backends
COPY pytriton/tritonserver/python_backend_stubs/3.11/triton_python_backend_stub /opt/tritonserver/backends/python/
# Executable by everybody, as in NVIDIA's image: a server that ran as root leaves its stub to its owner alone (chmod S_IXUSR
# in python_backend's stub_launcher.cc), and uid 1000 may not set it.
RUN chmod 755 /opt/tritonserver/bin/tritonserver /opt/tritonserver/backends/python/triton_python_backend_stub
ENV PATH=/opt/tritonserver/bin:/usr/local/bin:/usr/bin:/bin LD_LIBRARY_PATH=/opt/tritonserver/lib
CMD ["bash"]
