# Shortcuts for daily work. `just` lists them; each is a plain command that you can also type.
# Install: https://just.systems (`apt install just`, `cargo install just`).

[private]
default:
    @{{just_executable()}} --list --unsorted

# Run the demo: the lab and the whole procedure
demo:
    cargo run --release -- demo

# Start the lab, until Ctrl-C
lab *ARGS:
    cargo run --release -- lab up {{ARGS}}

# Run the tests of one crate
test CRATE *ARGS:
    cargo test -p {{CRATE}} {{ARGS}}

# Run all tests
test-all:
    cargo test --workspace

# Check formatting, lints, structure, links and rustdoc, without running tests
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    .ci/structure
    .ci/links
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

# Regenerate the parts of docs/ that are made from code
docs:
    IRSA_WRITE_DOCS=1 cargo test -p irsa-core --test docs
    IRSA_WRITE_DOCS=1 cargo test -p irsa flags_page
    IRSA_WRITE_SCHEMA=1 cargo test -p irsa-fleet schema
    IRSA_WRITE_SCHEMA=1 cargo test -p irsa-trail schema
    IRSA_WRITE_SCHEMA=1 cargo test -p irsa schema

# Build the container image and check it (as root; does not need Docker)
image:
    .ci/image

# Make the files of a release: archive, checksums and SBOM
dist *DIR:
    .ci/dist {{DIR}}

# Run everything that must pass before a change is merged
ci:
    .ci/run
