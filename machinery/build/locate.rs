//! Finds the sources of `k8s-pb` and `k8s-openapi` on this machine.
//!
//! Cargo downloads only what the target compiles, and `k8s-pb` is not compiled (its cfg holds nowhere),
//! so on a fresh machine its source may be missing although the lock file names it. A probe package
//! that depends on nothing but these two crates is therefore asked about, with a copy of the workspace's
//! lock file beside it so that versions and checksums are those of the lock: first offline, then
//! online, where cargo downloads what is missing. Vendored and replaced sources work, since cargo
//! itself answers.
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Sources {
    pub k8s_pb: PathBuf,
    pub k8s_openapi: PathBuf,
}

const PROBE_MANIFEST: &str = r#"[package]
name = "keelson-field-table-probe"
version = "0.0.0"
edition = "2024"
publish = false

[lib]
path = "lib.rs"

[dependencies]
k8s-pb = "=0.9.0"
k8s-openapi = { version = "0.29", features = ["v1_35"] }

[workspace]
"#;

pub fn sources(out_dir: &Path) -> Result<Sources, String> {
    let manifest_dir = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?);
    let probe = out_dir.join("probe");
    let write = |name: &str, text: &[u8]| {
        std::fs::write(probe.join(name), text).map_err(|e| format!("write probe file {name}: {e}"))
    };
    std::fs::create_dir_all(&probe).map_err(|e| format!("create {}: {e}", probe.display()))?;
    write("Cargo.toml", PROBE_MANIFEST.as_bytes())?;
    write("lib.rs", b"")?;
    match manifest_dir
        .ancestors()
        .map(|d| d.join("Cargo.lock"))
        .find(|p| p.is_file())
    {
        Some(lock) => write(
            "Cargo.lock",
            &std::fs::read(&lock).map_err(|e| format!("read {}: {e}", lock.display()))?,
        )?,
        None => println!("cargo::warning=no Cargo.lock found: the field table uses the versions cargo picks"),
    }
    metadata(&manifest_dir, &probe, true).or_else(|offline| {
        metadata(&manifest_dir, &probe, false).map_err(|online| {
            format!("cargo cannot find or download k8s-pb and k8s-openapi (offline: {offline}; online: {online})")
        })
    })
}

fn metadata(cwd: &Path, probe: &Path, offline: bool) -> Result<Sources, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // The workspace is the working directory, since cargo looks there for its configuration.
    command
        .current_dir(cwd)
        .args(["metadata", "--format-version", "1", "--manifest-path"]);
    command.arg(probe.join("Cargo.toml"));
    if let Ok(target) = std::env::var("TARGET") {
        command.args(["--filter-platform", &target]);
    }
    if offline {
        command.arg("--offline");
    }
    let output = command.output().map_err(|e| format!("run cargo metadata: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let tree: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|e| format!("read cargo metadata: {e}"))?;
    let root_of = |name: &str| -> Result<PathBuf, String> {
        let packages = tree["packages"].as_array().ok_or("cargo metadata has no packages")?;
        let package = packages
            .iter()
            .find(|p| p["name"] == name)
            .ok_or_else(|| format!("no package {name}"))?;
        let manifest = package["manifest_path"].as_str().ok_or("no manifest_path")?;
        Path::new(manifest)
            .parent()
            .map(Path::to_owned)
            .ok_or_else(|| "manifest_path has no parent".to_owned())
    };
    let found = Sources {
        k8s_pb: root_of("k8s-pb")?,
        k8s_openapi: root_of("k8s-openapi")?,
    };
    if found.k8s_pb.join("src").is_dir() && found.k8s_openapi.join("src").is_dir() {
        Ok(found)
    } else {
        Err("a source folder that cargo names is not there".to_owned())
    }
}
