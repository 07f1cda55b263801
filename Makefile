# Thin names for the commands of README.md; cargo alone does the same.
.PHONY: attack attack-soak check-page check-clients check-flaky check-prometheus check-proxies demo test serve bench bench-serving bench-latency bench-peers bench-features bench-words bench-profile bench-batch bench-soak bench-ceiling ci

demo: ## build and score the sample messages
	cargo run --release -- score --input examples/messages.jsonl

test: ## all tests, the Python clients included
	cargo test --release

serve: ## gRPC on 127.0.0.1:50051
	cargo run --release -- serve

# Each prints a table and writes target/bench/<name>.json; benches/README.md says what they measure.
BENCHES = serving latency peers features conversation words profile batch soak

bench: $(BENCHES:%=bench-%) bench-ceiling ## all benchmarks

$(BENCHES:%=bench-%): bench-%: ## one benchmark
	cargo bench --bench $*

bench-ceiling: ## the machine's int8 product, the share inference reaches, and where the rest goes
	python3 -m pip install --quiet --upgrade --target target/bench/python -r benches/peers/requirements.txt
	PYTHONPATH=target/bench/python python3 benches/peers/ceiling.py models/arom-base/model.onnx target/bench

attack: ## what strangers may do to a server: each script prints what it measured and fails when the attack succeeds
	cargo build --release
	for script in $$(ls tests/attack/*.py | grep -v /lib.py); do python3 $$script || exit 1; done

attack-soak: ## half an hour of everything at once; SECONDS=60 for a shorter run
	cargo build --release
	python3 tests/attack/long/mixed_soak.py $(SECONDS)

check-proxies: ## rolling restarts behind nginx, HAProxy and balancing clients; installs nginx and HAProxy from Debian
	cargo build --release
	tests/proxies/install.sh
	python3 tests/proxies/rolling.py

check-prometheus: ## alerts and dashboard against a real Prometheus; needs Debian or Ubuntu (apt-get download, dpkg-deb)
	cargo test --release --test it -- --ignored prometheus::

check-flaky: ## the suite ten times idle, ten times under load, with 1, 2 and 8 test threads, and on one core; hours
	tests/repeat.sh

check-page: ## the pages of `arom chat --html` and `arom batch` in headless Chromium; needs npm and Chromium
	mkdir -p target/page
	cargo run --release -- chat --html target/page/report.html examples/chats/parcel.txt
	npm install --silent --no-save --prefix target/page playwright-core@1.65
	node tests/browser/report.mjs target/page/report.html target/page/node_modules
	cargo test --release --lib report::tests::sample_page -- --ignored
	node tests/browser/batch.mjs target/page/batch.html target/page/node_modules

check-clients: ## every method by grpc-js and by buf curl; installs them with npm
	cargo test --release --test it -- --ignored clients::

ci: ## what must pass before a change lands
	.ci/run
