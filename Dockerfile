# Builds writ and holds nothing but it: `docker build -t writ .`
FROM rust:1.95.0-bookworm AS build
# librdkafka, OpenSSL and curl are built from source; compilers, Perl and zlib's headers are in this image.
WORKDIR /src
# The toolchain is the image's own: rust-toolchain.toml would fetch clippy and rustfmt as well.
ENV RUSTUP_TOOLCHAIN=1.95.0
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY schemas schemas
COPY projections projections
COPY src src
# Only named by the manifests, which are not read without.
COPY tests tests
COPY benches benches
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin writ && cp target/release/writ /usr/local/bin/writ

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --home-dir /var/lib/writ writ
COPY --from=build /usr/local/bin/writ /usr/local/bin/writ
USER writ
WORKDIR /var/lib/writ
# The ledgers. What is in no volume is gone with the container.
VOLUME /var/lib/writ
# Reached from outside the container only with `serve --http 0.0.0.0:8080 --http-open`: whoever reaches it reads everything.
EXPOSE 8080
# A crash is safe, and a clean stop seals the log with a last checkpoint: SIGTERM, and time for it.
STOPSIGNAL SIGTERM
ENTRYPOINT ["writ"]
CMD ["help"]
