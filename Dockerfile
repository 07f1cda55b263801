# docker build -t arom . && docker run --stop-timeout 35 -p 50051:50051 -p 9464:9464 arom
# (35 s: more than the 30 s that arom gives accepted requests after SIGTERM)
FROM rust:1.95-slim-bookworm AS build
# The build fetches ONNX Runtime with pip, by hash.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY src src
# Not built, but Cargo.toml names them.
COPY benches benches
RUN cargo build --release --locked --bin arom \
    && install -D target/release/arom /out/bin/arom \
    && install -D -t /out/lib .onnxruntime/*/libonnxruntime.so.* \
    && install -D -m 644 -t /out/share/doc/onnxruntime .onnxruntime/*/LICENSE .onnxruntime/*/ThirdPartyNotices.txt
COPY models/arom-base /out/share/arom/arom-base
COPY models/arom-fast /out/share/arom/arom-fast
COPY LICENSE /out/share/doc/arom/LICENSE

FROM debian:bookworm-slim
# ONNX Runtime is C++.
RUN apt-get update && apt-get install -y --no-install-recommends libstdc++6 && rm -rf /var/lib/apt/lists/*
COPY --from=build /out /usr/local
USER 65532:65532
# ONNX Runtime sends telemetry without it. arom sets it for itself too; this saves a restart of the process.
ENV ORT_DISABLE_TELEMETRY=1
ENV AROM_LISTEN=0.0.0.0:50051 AROM_HTTP_LISTEN=0.0.0.0:9464 AROM_LOG_FORMAT=json
EXPOSE 50051 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["arom", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["arom"]
CMD ["serve"]
