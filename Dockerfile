# Four images from one file; choose with --target: server, worker-cpu, worker-cuda, edge.
#
#   docker build --target server -t kdaif-server .
#   docker build --target worker-cpu --build-arg CPU_WHEELS=URL -t kdaif-worker .
#   docker build --target worker-cuda -t kdaif-worker-cuda .
#   docker build --target edge -t kdaif-edge .
#
# CPU_WHEELS is an index that has torch without CUDA; without it worker-cpu takes PyPI's torch, which is far larger.
# The images run as user 10001, and with a read-only root: give them /data and a tmpfs at /tmp.
# `make rehearse-images` runs each step without a Docker engine.
ARG PYTHON=python:3.11-slim

FROM ${PYTHON} AS source
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY kdaif kdaif
COPY proto proto
# Without pip inside: nobody installs anything into a running container.
RUN python -m venv --without-pip /opt/kdaif

FROM source AS build-server
COPY server server
RUN python -m pip --python /opt/kdaif/bin/python install --no-cache-dir --no-compile -c constraints.txt \
    ".[otel]" ./proto ./server

FROM source AS build-worker-cpu
ARG CPU_WHEELS=""
COPY worker worker
RUN python -m pip --python /opt/kdaif/bin/python install --no-cache-dir --no-compile -c constraints.txt \
    ${CPU_WHEELS:+--extra-index-url "${CPU_WHEELS}"} ".[otel,transformers]" ./worker

FROM source AS build-worker-cuda
COPY worker worker
RUN python -m pip --python /opt/kdaif/bin/python install --no-cache-dir --no-compile -c constraints.txt \
    ".[otel,transformers]" ./worker

FROM source AS build-edge
COPY client client
RUN python -m pip --python /opt/kdaif/bin/python install --no-cache-dir --no-compile -c constraints.txt \
    ./proto "./client[edge]"

FROM ${PYTHON} AS runtime
RUN install -d -o 10001 -g 10001 /data
ENV PATH=/opt/kdaif/bin:${PATH} PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /data
USER 10001:10001

FROM runtime AS server
COPY --from=build-server /opt/kdaif /opt/kdaif
ENV KDAIF_DATA_DIR=/data KDAIF_HOST=0.0.0.0 KDAIF_LOG_FORMAT=json KDAIF_METRICS=:9464 \
    KDAIF_HEALTH=127.0.0.1:50052
EXPOSE 50051 9464
# Asks the last of these, where no TLS is in the way.
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["kdaif-server", "health"]
ENTRYPOINT ["kdaif-server"]
CMD ["serve"]

FROM runtime AS worker-cpu
COPY --from=build-worker-cpu /opt/kdaif /opt/kdaif
ENV KDAIF_DATA_DIR=/data KDAIF_LOG_FORMAT=json KDAIF_METRICS=:9464 KDAIF_READY_FILE=/tmp/ready
EXPOSE 9464
# Touched at each beat while the queue answers, which is every quarter of a lease.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["sh", "-c", "find /tmp/ready -mmin -1 | grep -q ."]
ENTRYPOINT ["kdaif-worker"]
CMD ["run"]

FROM runtime AS worker-cuda
COPY --from=build-worker-cuda /opt/kdaif /opt/kdaif
ENV KDAIF_DATA_DIR=/data KDAIF_LOG_FORMAT=json KDAIF_METRICS=:9464 KDAIF_READY_FILE=/tmp/ready \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
EXPOSE 9464
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["sh", "-c", "find /tmp/ready -mmin -1 | grep -q ."]
ENTRYPOINT ["kdaif-worker"]
CMD ["run"]

FROM runtime AS edge
COPY --from=build-edge /opt/kdaif /opt/kdaif
# One command and its end: there is nothing to watch.
HEALTHCHECK NONE
ENTRYPOINT ["kdaif"]
CMD ["--help"]
