# syntax=docker/dockerfile:1
# The page and the HTTP service of `anyrestore serve` (docs/server.md), for one machine, on its CPU.
#
#   docker build -t anyrestore .
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/token:/run/secrets/anyrestore_token:ro" anyrestore
#
# The token file is needed: the service listens for others than its own container. It must be readable by user 10001.
# It cannot be built without a network; the packages are those of constraints.txt.

FROM python:3.11-slim-bookworm AS build

# Where torch comes from: PyPI's builds bring CUDA (2 GB); name an index with CPU builds to do without.
ARG TORCH_INDEX=""

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
WORKDIR /build

# First what changes rarely.
COPY constraints.txt ./
RUN pip install -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install -c constraints.txt '.[serve]'

FROM python:3.11-slim-bookworm

RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin anyrestore
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000

# /livez says that the process answers; /readyz, that pictures are taken.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]

# SIGTERM, docker's own way to stop a container, lets accepted pictures be finished (30 s: docker stop -t 40).
STOPSIGNAL SIGTERM
ENTRYPOINT ["anyrestore", "serve", "--host", "0.0.0.0", "--port", "8000", "--token-file", "/run/secrets/anyrestore_token"]
