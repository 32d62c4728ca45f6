# docker build --tag ngff-convert .
# docker run --rm --read-only --user "$(id -u):$(id -g)" --volume "$PWD:/data" ngff-convert in.ims out.ome.zarr

# Trixie is the stable Debian; 3.13 is the newest Python that pyproject.toml names. Not Alpine: several of
# the dependencies have no wheels for its C library.
FROM python:3.13.14-slim-trixie AS base

FROM base AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY ngff_convert ngff_convert
# Only wheels, because there is no compiler here. Bytecode is made now, since nothing can write it at run time, and is
# not held against the times of the files, which tools that build images may change.
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/ngff-convert \
    && pip --python /opt/ngff-convert/bin/python install --no-cache-dir --no-compile --only-binary :all: \
        "$(echo /wheels/*.whl)[cloud,cluster]" \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/ngff-convert/lib

FROM base
# The base has the standard library without bytecode; compiling it anew is half of the time of a short run.
RUN python -m compileall -q --invalidation-mode unchecked-hash \
        -x '/(idlelib|lib2to3|site-packages|tkinter|turtledemo)/' /usr/local/lib/python3.13
COPY --from=build /opt/ngff-convert /opt/ngff-convert

# A user that the image does not know has "/" as home.
ENV PATH=/opt/ngff-convert/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
# Nobody in particular; the files it makes belong to whom `docker run --user` names.
USER 10001:0
WORKDIR /data
STOPSIGNAL SIGTERM
ENTRYPOINT ["ngff-convert"]
CMD ["--help"]

LABEL org.opencontainers.image.title="ngff-convert" \
      org.opencontainers.image.description="Convert Imaris and other microscopy files to OME-Zarr (NGFF)" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="BSD-2-Clause" \
      org.opencontainers.image.authors="the ngff-convert authors" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13.14-slim-trixie"
