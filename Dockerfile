# The listener's image. Build it with: docker build -t tekton-pipeline-listener .
#
# What is in it: Python, and one virtual environment with just what constraints.txt names. It runs as 65532:65532, without a shell script in
# between, and with a read-only root file system. It writes to two places only, both of them of your choice:
#   TMPDIR (/tmp)   logs on their way; give it room: --tmpfs /tmp, or a volume (the chart: an emptyDir at /var/cache/tekton-listener)
#   logs.archive    finished logs, where the configuration names a folder: a volume
# The configuration is read from /etc/tekton-listener/listener.yaml:
#   docker run --read-only --tmpfs /tmp --user "$(id -u)" -p 8080:8080 -v "$PWD:/etc/tekton-listener:ro" \
#     -v "$HOME/.kube/config:/kubeconfig:ro" -e KUBECONFIG=/kubeconfig -e AUTH_USERNAME -e AUTH_PASSWORD tekton-pipeline-listener
# tests/chart/test_image.py reads this file and does what it says.

FROM python:3.13.15-slim-bookworm AS build

# Extras of pyproject.toml, with commas.
ARG EXTRAS=archive,chat,tracing

# For what is installed, and for what builds it (in pip's words since 25.3).
ENV PIP_CONSTRAINT=/src/constraints.txt \
    PIP_BUILD_CONSTRAINT=/src/constraints.txt \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /src
COPY constraints.txt ./
COPY pyproject.toml README.md LICENSE ./
COPY listener ./listener
COPY notifiers ./notifiers
RUN pip wheel --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install "$(echo /wheels/*.whl)${EXTRAS:+[$EXTRAS]}"


FROM python:3.13.15-slim-bookworm

LABEL org.opencontainers.image.title="Tekton Pipeline Listener" \
      org.opencontainers.image.description="Commit statuses and live logs of Tekton PipelineRuns for GitLab, GitHub and others" \
      org.opencontainers.image.licenses="MIT"

ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/ \
    TMPDIR=/tmp \
    PORT=8080 \
    TEKTON_LISTENER_CONFIG=/etc/tekton-listener/listener.yaml

COPY --from=build /opt/venv /opt/venv

WORKDIR /etc/tekton-listener
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=4 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + (os.environ.get('PORT') or '8080') + '/livez', timeout=4)"]
ENTRYPOINT ["tekton-listener"]
CMD ["serve"]
