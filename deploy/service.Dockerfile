# The service: what answers requests, and nothing of the trainer. Build from the repository's root:
#   docker build -f deploy/service.Dockerfile -t pointsman-service .
ARG PYTHON=3.11

# The full image, for its compiler; nothing of it is in what is shipped.
FROM python:${PYTHON} AS made
COPY requirements/service.txt requirements/kernels.txt requirements/
RUN python -m venv /opt/pointsman
RUN /opt/pointsman/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/service.txt
RUN /opt/pointsman/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/kernels.txt
WORKDIR /app
COPY setup.py setup.py
COPY contracts contracts
# The online half of the features alone: the batch plan under features/offline stays out.
COPY features/*.p* features/
COPY service service
RUN /opt/pointsman/bin/python setup.py --quiet build_ext --inplace
# A kernel that did not compile would be slow and not noticed: here it ends the build, and is named.
RUN /opt/pointsman/bin/python -c "import pathlib, sys; sys.exit([str(p) for p in pathlib.Path().rglob('*_native.pyx') if not list(p.parent.glob(p.stem + '.*.so'))] or 0)"
RUN rm -r build setup.py
RUN find . -name "*_native.[cp]*" -not -name "*.so" -delete
RUN /opt/pointsman/bin/python -m compileall -q .
# What only Litestar's own commands load, then the tools: 70 of 260 MB.
RUN /opt/pointsman/bin/python -m pip uninstall --yes --quiet faker polyfactory rich rich-click pygments markdown-it-py mdurl cython pip setuptools
# The packages' own tests, and a second copy of ONNX Runtime for programs in C (Python's has everything linked in): 50 MB.
RUN find /opt/pointsman -depth -type d -name tests -exec rm -r {} +
RUN find /opt/pointsman -name "libonnxruntime.so*" -delete

FROM python:${PYTHON}-slim
RUN groupadd --system --gid 10001 pointsman
RUN useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/pointsman pointsman
RUN install -d -o pointsman -g pointsman /var/lib/pointsman /var/lib/pointsman/bundles /var/lib/pointsman/journal /var/lib/pointsman/keys
COPY --from=made /opt/pointsman /opt/pointsman
COPY --from=made /app /app
WORKDIR /app
ENV PATH=/opt/pointsman/bin:/usr/local/bin:/usr/bin:/bin
ENV PYTHONUNBUFFERED=1
ENV PYTHONDONTWRITEBYTECODE=1
# Beyond loopback it starts only with POINTSMAN_KEYS or POINTSMAN_JWT_KEYS (or POINTSMAN_OPEN=yes behind a gateway that asks).
ENV POINTSMAN_HOST=0.0.0.0
ENV POINTSMAN_PORT=8080
ENV POINTSMAN_BUNDLES=/var/lib/pointsman/bundles
ENV POINTSMAN_JOURNAL=/var/lib/pointsman/journal
# Writable are /tmp and the journal's folder; the rest may be mounted read-only.
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['POINTSMAN_PORT'] + '/health/live', timeout=2)"]
CMD ["python", "-m", "service"]
