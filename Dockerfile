# efface with its page and its stores' clients, for CPUs.
#
#   docker build -t efface .
#   docker run --rm -v "$PWD:/work" efface inspect model.pth
FROM python:3.11-slim

RUN useradd --uid 1000 --create-home efface
WORKDIR /opt/efface
COPY pyproject.toml constraints.txt README.md LICENSE CHANGELOG.md ./
COPY src ./src
# torch's own index has builds without CUDA; without it pip takes several gigabytes.
RUN pip install --no-cache-dir --constraint constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu \
    '.[detect,heic,serve,sweep]'

USER efface
WORKDIR /work
ENTRYPOINT ["efface"]
CMD ["--help"]
