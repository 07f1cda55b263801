# docker build -t arom . && docker run --stop-timeout 70 -p 127.0.0.1:50051:50051 -p 127.0.0.1:9464:9464 arom
#
# Nobody has to log in: publish the ports on this machine alone, and put a proxy before them (docs/reliability.md, Behind a proxy).
# With a profile store: -v arom-store:/var/lib/arom -e AROM_PROFILE_STORE=/var/lib/arom. The folder belongs to the user 65532.
#
# --stop-timeout: Docker kills the process so long after SIGTERM, by default after 10 s. Arom serves on for 5 s
# (server.shutdown_delay_seconds), finishes calls within 30 s (server.shutdown_grace_seconds), and ends within 26 s more at the
# worst. In a compose file: stop_grace_period: 70s. On Kubernetes: terminationGracePeriodSeconds: 70.
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
RUN apt-get update && apt-get install -y --no-install-recommends libstdc++6 && rm -rf /var/lib/apt/lists/* \
    && install -d -o 65532 -g 65532 -m 700 /var/lib/arom
COPY --from=build /out /usr/local
USER 65532:65532
# ONNX Runtime sends telemetry without the first, and large blocks of memory are not given back without the second. arom sets both for
# itself too; this saves a restart of the process.
ENV ORT_DISABLE_TELEMETRY=1 GLIBC_TUNABLES=glibc.malloc.mmap_threshold=1048576
ENV AROM_LISTEN=0.0.0.0:50051 AROM_HTTP_LISTEN=0.0.0.0:9464 AROM_LOG_FORMAT=json
EXPOSE 50051 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["arom", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["arom"]
CMD ["serve"]
