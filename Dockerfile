# HSEIE as an image. All of it with a database: `docker compose up`. A node alone, with a database elsewhere:
#
#   docker build -t hseie .
#   docker run --rm -e DATABASE_URL=postgresql://user:password@host/database hseie migrate
#   docker run -v hseie-data:/data hseie keys create meters --scope ingest
#   docker run -e DATABASE_URL=postgresql://user:password@host/database -e HSEIE_AUTH__MODE=keys -v hseie-data:/data \
#     -p 3000:3000 --stop-timeout 40 hseie
#
# Without keys a node in a container does not start: all addresses of a container are a network to it. Where the port is
# published to nobody who is not trusted, HSEIE_AUTH__OPEN_TO_NETWORK=true says so.
#
# The embedded PostgreSQL stays out: a database in a container has a container of its own, with its own limits, its own
# upgrades and its own backup. That also keeps 76 MB of programs out of the image. DuckDB, which writes and reads
# archived days, is in it (70 MB): without it old days would stay in PostgreSQL.
FROM python:3.13-slim AS python

FROM python AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The dependencies first: they change less often than the code, and this layer is kept until they do.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/hseie \
    && /opt/hseie/bin/python -m pip install --require-hashes --only-binary :all: -r requirements.lock \
    && python -m pip install --require-hashes --only-binary :all: -r requirements-build.lock
COPY . .
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/hseie/bin/python -m pip install --no-deps --no-index /wheels/*.whl \
    && /opt/hseie/bin/python -m pip uninstall --yes pip

FROM python
# A number of its own, the same in every build: files in a volume belong to it.
RUN groupadd --gid 10001 hseie \
    && useradd --uid 10001 --gid hseie --home-dir /data --no-create-home --shell /usr/sbin/nologin hseie \
    && install --directory --owner hseie --group hseie --mode 0700 /data
COPY --from=build /opt/hseie /opt/hseie
# What a container decides for itself. These win over a configuration file; `docker run -e` wins over these.
ENV PATH=/opt/hseie/bin:$PATH \
    HSEIE_NODE__DATA=/data \
    HSEIE_HTTP__HOST=0.0.0.0 \
    HSEIE_LOG__FORMAT=json
USER 10001:10001
WORKDIR /data
# The journals: what was acknowledged and is not in PostgreSQL yet stands here only. And the archive: the readings of
# days that have left PostgreSQL, unless HSEIE_RETENTION__ARCHIVE names a place of their own.
VOLUME /data
EXPOSE 3000
# The node drains on SIGTERM: give it longer than node.drain_timeout_s (25 s) before the kill.
STOPSIGNAL SIGTERM
# Ready, not merely alive, since others start after it. Where unhealthy containers are replaced (Swarm, autoheal), ask
# /livez instead: a node whose PostgreSQL is away is not ready, and still takes readings.
# On the socket of analytics: there it is plain HTTP, also where the port asks for TLS and certificates.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client, socket, sys; node = http.client.HTTPConnection('node'); node.sock = socket.socket(socket.AF_UNIX); node.sock.settimeout(4); node.sock.connect('/data/run/analytics.sock'); node.request('GET', '/readyz'); sys.exit(node.getresponse().status != 200)"]
# No init beside it: `hseie up` handles SIGTERM and SIGINT as process 1 too, and waits for every child it starts.
ENTRYPOINT ["hseie"]
CMD ["up"]
