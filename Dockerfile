# The command line: an emulator (the default), or a worker that pays from a journal in PostgreSQL.
#
#   docker build -t smartglocal .
#   docker run --rm -p 127.0.0.1:8080:8080 smartglocal
#   docker run --rm --env-file worker.env -v ./keys:/keys:ro smartglocal payouts work
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY smartglocal_async ./smartglocal_async
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir ".[cli,fast,files,pages,postgres,prometheus,reports]"

FROM python:3.13-slim
COPY --from=build /venv /venv
RUN useradd --create-home --uid 10001 smartglocal
USER smartglocal
WORKDIR /home/smartglocal
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 8080 9464
ENTRYPOINT ["smartglocal"]
CMD ["emulator", "--host", "0.0.0.0", "--port", "8080"]
