FROM python:3.11-slim AS build
WORKDIR /app
RUN python -m venv /venv
COPY requirements.lock .
RUN /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock

FROM python:3.11-slim
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TOCSIN_HOME=/var/lib/tocsin \
    STATIC_ROOT=/app/static-collected \
    HOST=0.0.0.0 \
    PORT=8000
RUN useradd --system --uid 10001 --home-dir /var/lib/tocsin tocsin \
    && mkdir -p /var/lib/tocsin /app/static-collected \
    && chown tocsin /var/lib/tocsin /app/static-collected
WORKDIR /app
COPY --from=build /venv /venv
COPY . .
RUN python -m compileall -q .
USER tocsin
# The keys of the build are thrown away: those of the installation are made, or
# given, where it runs.
RUN TOCSIN_HOME=/tmp/build python manage.py prepare --static && rm -rf /tmp/build
VOLUME /var/lib/tocsin
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/healthz\", timeout=4)"]
# Alone, the image is all of Tocsin on SQLite; compose.yaml takes it apart.
CMD ["python", "manage.py", "up"]
