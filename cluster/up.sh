#!/usr/bin/env bash
# Brings up a cluster on this machine: installs and builds what is missing, then runs `keelson up`.
# Arguments go to `keelson up` (for example --name second).
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_root
node_packages
build_packages
need_cargo
need_rocksdb
say "building keelson (the first time takes about ten minutes on two cores)"
cd "$KEELSON_ROOT"
cargo build --release --locked --bin keelson
binary=$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/keelson
[ -x "$binary" ] || die "cargo left no binary at $binary"
ln -sf "$binary" /usr/local/bin/keelson
need_kubectl
say "starting the cluster"
exec "$binary" up "$@"
