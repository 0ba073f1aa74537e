# The toolkit with its embedded weights; CPU and, with an NVIDIA runtime, GPU.
#   docker build -t limner .
#   docker run --rm -v "$PWD:/data" limner read /data/photo.jpg
# A CPU-only image is two gigabytes smaller: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu
FROM python:3.11-slim AS build
ARG TORCH_INDEX=https://pypi.org/simple
WORKDIR /limner
RUN python -m venv /opt/limner
ENV PATH=/opt/limner/bin:$PATH
COPY constraints.txt pyproject.toml README.md LICENSE NOTICE ./
# The largest layer, made once: it changes only with the pins.
RUN pip install --no-cache-dir --constraint constraints.txt --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple torch
COPY src src
RUN pip install --no-cache-dir --constraint constraints.txt ".[train,scale,provenance]"

FROM python:3.11-slim
COPY --from=build /opt/limner /opt/limner
ENV PATH=/opt/limner/bin:$PATH LIMNER_HOME=/data/.limner
RUN useradd --create-home --uid 10001 limner
USER 10001
WORKDIR /data
ENTRYPOINT ["limner"]
CMD ["--help"]
