//! Builds the shim for wrong clocks (`clock/`), so that the runner carries it and is one file.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=clock/src/lib.rs");
    println!("cargo::rerun-if-changed=build.rs");
    let var = |name: &str| std::env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let out = PathBuf::from(var("OUT_DIR")).join("libkeelson_jepsen_clock.so");
    let built = Command::new(var("RUSTC"))
        .args([
            "--edition=2024",
            "--crate-type=cdylib",
            "--crate-name=keelson_jepsen_clock",
        ])
        .args(["-Copt-level=2", "-Cpanic=abort", "-Cstrip=symbols", "--target"])
        .arg(var("TARGET"))
        .arg("-o")
        .arg(&out)
        .arg("clock/src/lib.rs")
        .status();
    match built {
        Ok(status) if status.success() => {}
        other => panic!("the clock shim does not build: {other:?}"),
    }
}
