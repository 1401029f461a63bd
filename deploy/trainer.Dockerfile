# The trainer: turns a history into a bundle on the shelf the service reads. Build from the repository's root:
#   docker build -f deploy/trainer.Dockerfile -t pointsman-trainer .
ARG PYTHON=3.11

# The full image, for its compiler; nothing of it is in what is shipped.
FROM python:${PYTHON} AS made
COPY requirements/trainer.txt requirements/kernels.txt requirements/
RUN python -m venv /opt/pointsman
RUN /opt/pointsman/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/trainer.txt
RUN /opt/pointsman/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/kernels.txt
WORKDIR /app
COPY setup.py setup.py
COPY contracts contracts
COPY features features
COPY service service
COPY trainer trainer
RUN /opt/pointsman/bin/python setup.py --quiet build_ext --inplace
RUN /opt/pointsman/bin/python -c "import pathlib, sys; sys.exit([str(p) for p in pathlib.Path().rglob('*_native.pyx') if not list(p.parent.glob(p.stem + '.*.so'))] or 0)"
RUN rm -r build setup.py
RUN find . -name "*_native.[cp]*" -not -name "*.so" -delete
RUN /opt/pointsman/bin/python -m compileall -q .
# As in the service's image: what nothing here loads, 175 of 1,140 MB.
RUN /opt/pointsman/bin/python -m pip uninstall --yes --quiet faker polyfactory rich rich-click pygments markdown-it-py mdurl cython pip setuptools
RUN find /opt/pointsman -depth -type d -name tests -exec rm -r {} +
RUN find /opt/pointsman -name "libonnxruntime.so*" -delete

FROM python:${PYTHON}-slim
# The same user as the service's, who reads the bundles written here.
RUN groupadd --system --gid 10001 pointsman
RUN useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/pointsman pointsman
RUN install -d -o pointsman -g pointsman /var/lib/pointsman /var/lib/pointsman/bundles /var/lib/pointsman/work
COPY --from=made /opt/pointsman /opt/pointsman
COPY --from=made /app /app
ENV PATH=/opt/pointsman/bin:/usr/local/bin:/usr/bin:/bin
ENV PYTHONUNBUFFERED=1
ENV PYTHONDONTWRITEBYTECODE=1
ENV PYTHONPATH=/app
ENV MPLCONFIGDIR=/tmp/matplotlib
# Writable are /tmp, the shelf and the folder of work.
USER 10001:10001
WORKDIR /var/lib/pointsman
ENTRYPOINT ["python", "-m", "trainer"]
CMD ["--help"]
