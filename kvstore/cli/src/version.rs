//! What `--version` says.

/// The version of etcd whose API is served; tools read it.
pub const ETCD_VERSION: &str = "3.7.3";

/// Which of the machine's kinds it was built for, in Go's names.
pub fn os_arch() -> (&'static str, &'static str) {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    };
    (std::env::consts::OS, arch)
}

/// Ours, where etcd names its own.
pub fn build() -> String {
    format!("Keelson {}", env!("CARGO_PKG_VERSION"))
}

pub const LANGUAGE: &str = "rust (not Go)";

pub fn text() -> String {
    let (os, arch) = os_arch();
    format!(
        "etcd Version: {ETCD_VERSION}\nGit SHA: {}\nGo Version: {LANGUAGE}\nGo OS/Arch: {os}/{arch}\n",
        build()
    )
}
