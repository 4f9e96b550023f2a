//! Generates the field table of the Kubernetes API (`$OUT_DIR/table.rs`, included by `src/schema.rs`).
//!
//! Three sources are joined:
//! - the source of `k8s-pb` (generated from upstream's .proto files): messages, tags, types, and the
//!   list, patch and default marks that its doc comments keep;
//! - the source of `k8s-openapi` (generated from upstream's OpenAPI): exact JSON names, required marks
//!   and descriptions;
//! - `facts.txt` here: what neither tells, namely which fields are Go pointers, which are written
//!   although empty, and the few Go type names that error messages show.
//!
//! Neither crate is compiled for this; their text is read.
mod emit;
mod facts;
mod locate;
mod openapi;
mod pb;

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=Cargo.toml");
    if let Err(message) = run() {
        println!("cargo::error=field table: {message}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let out_dir = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let sources = locate::sources(&out_dir)?;
    for root in [&sources.k8s_pb, &sources.k8s_openapi] {
        println!("cargo:rerun-if-changed={}", root.join("Cargo.toml").display());
    }
    let messages = pb::read(&sources.k8s_pb.join("src"))?;
    let definitions = openapi::read(&sources.k8s_openapi.join("src/v1_35"))?;
    let facts = facts::parse(include_str!("facts.txt"))?;
    let table = emit::table(&messages, &definitions, &facts)?;
    let path = out_dir.join("table.rs");
    std::fs::write(&path, table).map_err(|e| format!("write {}: {e}", path.display()))
}
