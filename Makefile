# Two commands do all on a fresh machine: `make demo` and `make test`. Both look for what is missing first.
.PHONY: demo test setup lint install fuzz

setup:
	@bash scripts/setup.sh

# No --package: with the whole workspace selected, dependencies have the same features as in the tests and are built once.
# Builds, then forms a group of real processes, cuts it, heals it, and checks what it claims. Loopback only.
demo: setup
	@cargo run --quiet --bin dmls -- demo $(DEMO)

# Builds and passes every test.
test: setup
	@if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --workspace; else cargo test --workspace; fi
	@cargo test --quiet --workspace --doc

lint: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

# Puts `dmls` on the PATH, optimised.
install: setup
	cargo install --locked --path node

MINUTES ?= 10
# Looks for inputs that break something, for MINUTES. `tests/fuzz/run --help` has more.
fuzz: setup
	@tests/fuzz/run --minutes $(MINUTES) $(FUZZ)
