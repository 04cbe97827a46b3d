# syntax=docker/dockerfile:1
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY config/default.toml config/
COPY benches benches
COPY examples examples
COPY src src
RUN cargo build --release --locked --bin bamboohook && mkdir -p /data

# No shell, no package manager, CA certificates included; its user `nonroot` is 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/bamboohook /usr/local/bin/bamboohook
COPY --from=build --chown=65532:65532 /data /data
# The callback address is for the reverse proxy in front; the admin address stays inside the container.
ENV BAMBOOHOOK__SERVER__LISTEN=0.0.0.0:8080 \
    BAMBOOHOOK__STORE__URL=sqlite:///data/bamboohook.db \
    BAMBOOHOOK__LOG__FORMAT=json
VOLUME /data
EXPOSE 8080
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["bamboohook", "healthcheck"]
ENTRYPOINT ["bamboohook"]
CMD ["serve"]
