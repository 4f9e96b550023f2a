//! Compiles the `.proto` files with protox: no `protoc` is needed on the building machine.
//!
//! Each set is compiled on its own, so that one can change without the others.

use std::error::Error;
use std::path::{Path, PathBuf};

const PROTO_ROOT: &str = "protos";

/// One independent group of files: a folder, or a single file, below `protos/`.
struct Set {
    /// Relative to `protos/`.
    source: &'static str,
}

const SETS: &[Set] = &[
    Set { source: "etcd" },
    Set { source: "grpc" },
    Set { source: "cri.proto" },
    Set {
        source: "containerd_events.proto",
    },
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO_ROOT}");
    for set in SETS {
        compile(set)?;
    }
    Ok(())
}

fn compile(set: &Set) -> Result<(), Box<dyn Error>> {
    let root = Path::new(PROTO_ROOT);
    let files = sources(&root.join(set.source))?;
    let descriptors = protox::compile(&files, [root])?;
    let mut config = tonic_prost_build::Config::new();
    config.bytes(["."]);
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

fn sources(path: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|e| e == "proto") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
