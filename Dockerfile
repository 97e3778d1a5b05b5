# The gateway alone in an image: no shell, no libc, not root.
#
#   docker build -t gateway .
#   docker run --rm --network host gateway init --to http://127.0.0.1:5000 >gateway.yaml
#   docker run --network host -v ./gateway.yaml:/etc/gateway/gateway.yaml:ro -v gateway-data:/data gateway
#
# It holds no policy: without one it says so, and ends.
ARG GO_IMAGE=golang:1.26-bookworm

FROM ${GO_IMAGE} AS build
# GOPROXY and GOFLAGS may be given; else Go's own defaults hold.
ARG GOPROXY
ARG GOFLAGS
ENV GOTOOLCHAIN=local
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /root-fs/gateway ./cmd/gateway
# The policy's data_dir stands beside the policy (./data); here that is /data.
# /keys is for keys that several gateways share.
RUN mkdir -p /root-fs/data /root-fs/keys /root-fs/etc/gateway /root-fs/etc/ssl/certs \
 && mkdir -m 1777 /root-fs/tmp \
 && cp configs/gateway.schema.json /root-fs/etc/gateway/ \
 && ln -s /data /root-fs/etc/gateway/data \
 && cp /etc/ssl/certs/ca-certificates.crt /root-fs/etc/ssl/certs/ \
 && echo 'gateway:x:65532:65532:gateway:/data:/sbin/nologin' > /root-fs/etc/passwd \
 && echo 'gateway:x:65532:' > /root-fs/etc/group \
 && chown 65532:65532 /root-fs/data /root-fs/keys

FROM scratch
COPY --from=build /root-fs /
USER 65532:65532
ENV GATEWAY_CONFIG=/etc/gateway/gateway.yaml
WORKDIR /data
VOLUME /data
EXPOSE 8080 9901
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/gateway", "healthcheck"]
ENTRYPOINT ["/gateway"]
CMD ["run"]
