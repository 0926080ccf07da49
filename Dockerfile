# The services and the command line, as static binaries without a shell, a package manager or root.
#
#	docker build --target writer .      also: projector, query, reconciler, tidemark

FROM golang:1.26.8 AS build
WORKDIR /src
ENV CGO_ENABLED=0
# What others wrote changes less often than our code: it is fetched, and the large part of it compiled, in layers of its own.
COPY go.work go.work.sum ./
COPY events/go.mod events/go.su[m] events/
COPY projections/go.mod projections/go.sum projections/
COPY infra/go.mod infra/go.sum infra/
COPY services/go.mod services/go.sum services/
ARG GOPROXY
RUN go mod download
RUN go build -trimpath github.com/nats-io/nats-server/v2/server github.com/nats-io/nats.go/jetstream github.com/redis/go-redis/v9 net/http
COPY . .
RUN go build -trimpath -ldflags='-s -w' -o /out/ ./services/writer ./services/projector ./services/query ./services/reconciler ./services/tidemark

FROM gcr.io/distroless/static-debian12:nonroot AS service
USER 65532:65532
ENV TIDEMARK_CONFIG=/etc/tidemark/tidemark.yaml TIDEMARK_HTTP=0.0.0.0:7070 TIDEMARK_LOG_FORMAT=json
EXPOSE 7070

FROM service AS writer
COPY --from=build /out/writer /usr/local/bin/writer
ENTRYPOINT ["/usr/local/bin/writer"]
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/local/bin/writer", "healthcheck"]

FROM service AS projector
COPY --from=build /out/projector /usr/local/bin/projector
ENTRYPOINT ["/usr/local/bin/projector"]
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/local/bin/projector", "healthcheck"]

FROM service AS query
COPY --from=build /out/query /usr/local/bin/query
ENTRYPOINT ["/usr/local/bin/query"]
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/local/bin/query", "healthcheck"]

FROM service AS reconciler
COPY --from=build /out/reconciler /usr/local/bin/reconciler
ENTRYPOINT ["/usr/local/bin/reconciler"]
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/local/bin/reconciler", "healthcheck"]

FROM service AS tidemark
COPY --from=build /out/tidemark /usr/local/bin/tidemark
ENTRYPOINT ["/usr/local/bin/tidemark"]
