# Thin names for the commands of README.md; cargo alone does the same.
.PHONY: demo test serve bench bench-serving ci

demo: ## build and score the sample messages
	cargo run --release -- score --input examples/messages.jsonl

test: ## all tests, the Python clients included
	cargo test --release

serve: ## gRPC on 127.0.0.1:50051
	cargo run --release -- serve

bench: bench-serving ## all benchmarks, each a table and target/bench/<name>.json

bench-serving: ## texts per second on each way into the model, against the ceiling
	cargo bench --bench serving

ci: ## what must pass before a change lands
	.ci/run
