# syntax=docker/dockerfile:1
# The aggregator as an image: one binary on a base without shell or package manager, not run by root.
#   docker build -t aggregator .
# See host/deploy/README.md.

# The version that rust-toolchain.toml names; the Debian is the base's, since the binary uses its C library.
ARG RUST_VERSION=1.95.0
FROM rust:${RUST_VERSION}-bookworm AS build
WORKDIR /source
# zlib goes into the binary: the base has none.
ENV LIBZ_SYS_STATIC=1
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked -p aggregator \
    && install -D -m 0755 target/release/aggregator /image/usr/local/bin/aggregator \
    && install -d -o 65532 -g 65532 /image/var/lib/aggregator /image/var/lib/aggregator/plugins.d \
    && install -d -o 65532 -g 65532 -m 0700 /image/var/cache/aggregator

# C library and certificates, nothing else. The binary is not static: wasmtime and librdkafka want the C library.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image/ /
USER 65532:65532
WORKDIR /var/lib/aggregator
ENV HTTP_BIND=0.0.0.0 \
    METRICS_PORT=8081 \
    PLUGINS_DIR=/var/lib/aggregator/plugins.d \
    PLUGIN_CACHE_DIR=/var/cache/aggregator
EXPOSE 8081
STOPSIGNAL SIGTERM
# Whether it makes progress. Not whether it is ready: a host that stands by is as it should be.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/aggregator", "health", "--live"]
ENTRYPOINT ["/usr/local/bin/aggregator"]
