#!/usr/bin/env bash
# Runs every test: units and properties, then the end-to-end flows with real clients against real containers.
# The last line names how many passed and failed.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
need_root
node_packages
build_packages
packages curl
need_cargo
need_rocksdb
command -v go >/dev/null || die "go is missing (1.24 or newer): the tests build the real etcdctl and kubectl from the pinned modules in bench/peers"
say "building the real clients (once: a few minutes)"
ETCDCTL=$("$KEELSON_ROOT/bench/peers/build" etcdctl) || die "etcdctl did not build"
KUBECTL=$("$KEELSON_ROOT/bench/peers/build" kubectl) || die "kubectl did not build"
ETCD=$("$KEELSON_ROOT/bench/peers/build" etcd) || die "etcd did not build"
export ETCD ETCDCTL KUBECTL
cd "$KEELSON_ROOT"
out=$(mktemp)
trap 'rm -f "$out"' EXIT
say "running the tests"
cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$out"
status=${PIPESTATUS[0]}
passed=$(awk '/^test result:/{p+=$4} END{print p+0}' "$out")
failed=$(awk '/^test result:/{f+=$6} END{print f+0}' "$out")
# A build that broke or a run that died has no result line of its own: it counts as a failure.
[ "$status" = 0 ] || [ "$failed" != 0 ] || failed=1
[ "$passed" != 0 ] || failed=$((failed + 1))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$status" = 0 ]
