#!/usr/bin/env bash
# Runs every test: units and properties, then the end-to-end flows with real clients against real containers.
# The last line names how many passed and failed.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
need_root
node_packages
build_packages
packages curl strace e2fsprogs
need_cargo
need_rocksdb
command -v go >/dev/null || die "go is missing (1.24 or newer): the tests build the real etcd, etcdctl, kubectl and others from the pinned modules in bench/peers"
say "building the real peers (once: ten minutes)"
# Each under the name in the environment by which the tests look for it: etcdctl is ETCDCTL, and so on.
for peer in etcd etcdctl etcdutl kubectl kube-apiserver kube-controller-manager kube-scheduler; do
  built=$("$KEELSON_ROOT/bench/peers/build" "$peer") || die "$peer did not build"
  name=${peer^^}
  export "${name//-/_}=$built"
done
cd "$KEELSON_ROOT"
out=$(mktemp)
trap 'rm -f "$out"' EXIT
say "running the tests"
# A shell's background job ignores SIGINT, and so would everything it starts; the tests end programs by it.
env --default-signal=INT,QUIT cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$out"
status=${PIPESTATUS[0]}
passed=$(awk '/^test result:/{p+=$4} END{print p+0}' "$out")
failed=$(awk '/^test result:/{f+=$6} END{print f+0}' "$out")
# A build that broke or a run that died has no result line of its own: it counts as a failure.
[ "$status" = 0 ] || [ "$failed" != 0 ] || failed=1
[ "$passed" != 0 ] || failed=$((failed + 1))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$status" = 0 ]
