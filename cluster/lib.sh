# Shared by up.sh, test.sh and .ci/run: what is missing is installed or built, once. Sourced, not run.
# KEELSON_CACHE (default ~/.cache/keelson) holds what is built once for every clone and profile.

say() { printf '==> %s\n' "$*"; }
die() { printf 'keelson: %s\n' "$*" >&2; exit 1; }

KEELSON_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
KEELSON_CACHE=${KEELSON_CACHE:-$HOME/.cache/keelson}
export KEELSON_CACHE

need_root() {
  [ "$(id -u)" = 0 ] && return
  die "run this as root (sudo $0): it installs packages and starts containers, which make mounts, cgroups, network namespaces and nftables rules"
}

# Installs those Debian packages that are missing.
packages() {
  local missing=()
  for p in "$@"; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p")
  done
  [ ${#missing[@]} = 0 ] && return
  command -v apt-get >/dev/null || die "missing: ${missing[*]}; install them with this system's package manager"
  say "installing ${missing[*]}"
  # The index may be absent or stale on a fresh machine: it is read anew before, and errors are shown.
  local log
  log=$(mktemp)
  if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    rm -f "$log"
    die "apt-get could not install ${missing[*]}"
  fi
  rm -f "$log"
}

node_packages() {
  packages containerd runc containernetworking-plugins nftables conntrack iproute2 busybox-static catatonit ca-certificates
}

build_packages() {
  # bindgen needs libclang and its headers.
  packages g++ make pkg-config libclang-dev
}

need_cargo() {
  [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
  command -v cargo >/dev/null || {
    apt-cache show rustup >/dev/null 2>&1 && packages rustup && rustup default stable
  }
  command -v cargo >/dev/null || die "cargo is missing and this Debian has no package for Rust 1.95: install it with rustup (https://rustup.rs), then run this again"
  local have
  have=$(rustc --version | awk '{print $2}')
  [ "$(printf '%s\n1.95\n' "$have" | sort -V | head -n 1)" = 1.95 ] || die "rustc $have is too old: 1.95 or newer is needed (rustup update stable)"
}

# RocksDB takes 20 CPU-minutes: it is compiled once into the cache and linked from there by every profile.
need_rocksdb() {
  local version flags dir
  version=$(sed -n '/^name = "librocksdb-sys"/{n;s/version = "\(.*\)"/\1/p}' "$KEELSON_ROOT/Cargo.lock")
  [ -n "$version" ] || die "Cargo.lock names no librocksdb-sys"
  flags="-O2 -g0"
  # Hardware CRC32C: on every x86-64 server since 2010.
  [ "$(uname -m)" = x86_64 ] && flags="$flags -msse4.2 -mpclmul"
  dir=$KEELSON_CACHE/rocksdb/$version-$(uname -m)
  mkdir -p "$dir"
  exec 9>"$dir/lock"
  flock 9
  if [ ! -f "$dir/librocksdb.a" ]; then
    say "compiling RocksDB $version (once: 10 to 15 minutes on two cores)"
    local target=$KEELSON_CACHE/rocksdb-build
    (cd "$KEELSON_ROOT" && env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC CXXFLAGS="$flags" CARGO_TARGET_DIR="$target" \
      cargo build --release --locked -p librocksdb-sys) || die "RocksDB did not compile"
    cp "$(ls -t "$target"/release/build/librocksdb-sys-*/out/librocksdb.a | head -n 1)" "$dir/librocksdb.a.part"
    mv "$dir/librocksdb.a.part" "$dir/librocksdb.a"
    rm -rf "$target"
  fi
  flock -u 9
  exec 9>&-
  export ROCKSDB_LIB_DIR=$dir ROCKSDB_STATIC=1
}

# A kubectl of 1.32 or newer: what is on the PATH, else the pinned one, built or downloaded.
need_kubectl() {
  command -v kubectl >/dev/null && return
  local built arch v=v1.35.4
  say "getting kubectl"
  if command -v go >/dev/null && built=$("$KEELSON_ROOT/bench/peers/build" kubectl); then
    ln -sf "$built" /usr/local/bin/kubectl
    return
  fi
  case $(uname -m) in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) die "no kubectl on the PATH: install one of 1.32 to 1.35" ;; esac
  packages curl
  local url=https://dl.k8s.io/release/$v/bin/linux/$arch/kubectl part
  part=$(mktemp)
  if curl -fsSL --retry 2 -o "$part" "$url" && echo "$(curl -fsSL "$url.sha256")  $part" | sha256sum -c --quiet; then
    install -m 0755 "$part" /usr/local/bin/kubectl
    rm -f "$part"
  else
    rm -f "$part"
    die "no kubectl on the PATH, and none could be built (go is missing) or downloaded: install one of 1.32 to 1.35"
  fi
}
