# docker build -t ras2s .                                       # CPU
# docker build -t ras2s:cuda --build-arg TORCH=cu128 .          # CUDA: a name of pytorch.org's selector
# docker run --rm -v "$PWD:/work" ras2s denoise scene.hdr -o clean.hdr      (CUDA: --gpus all)
FROM python:3.11-slim
# g++ builds the kernels of the CPU at their first use.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
ARG TORCH=cpu
WORKDIR /opt/lightning_ras2s
COPY constraints.txt .
RUN pip install --no-cache-dir --constraint constraints.txt torch \
    --index-url "https://download.pytorch.org/whl/${TORCH}" --extra-index-url https://pypi.org/simple
COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt '.[geo,exr,zarr,classical]'
ENV WANDB_MODE=offline
WORKDIR /work
ENTRYPOINT ["ras2s"]
