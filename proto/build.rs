//! Compiles the `.proto` files with protox: no `protoc` is needed on the building machine.
//!
//! Each set is compiled on its own, so that one can change without the others.

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use std::error::Error;
use std::path::{Path, PathBuf};

const PROTO_ROOT: &str = "protos";

/// One independent group of files: a folder, or a single file, below `protos/`.
struct Set {
    /// Relative to `protos/`.
    source: &'static str,
    /// Its descriptors are kept under this name, for reflection and the JSON gateway.
    descriptors: Option<&'static str>,
}

const SETS: &[Set] = &[
    Set {
        source: "etcd",
        descriptors: Some("etcd.bin"),
    },
    Set {
        source: "grpc",
        descriptors: Some("grpc.bin"),
    },
    Set {
        source: "peer.proto",
        descriptors: None,
    },
    Set {
        source: "ask.proto",
        descriptors: None,
    },
    Set {
        source: "cri.proto",
        descriptors: None,
    },
    Set {
        source: "containerd_events.proto",
        descriptors: None,
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
    if let Some(name) = set.descriptors {
        let out = std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
        std::fs::write(Path::new(&out).join(name), told(&descriptors).encode_to_vec())?;
    }
    let mut config = tonic_prost_build::Config::new();
    config.bytes(["."]);
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

/// What clients may see: no comments, and nothing of the log's own envelope.
fn told(descriptors: &FileDescriptorSet) -> FileDescriptorSet {
    let ours = |f: &&FileDescriptorProto| f.package().starts_with("keelson.");
    let mut file: Vec<_> = descriptors.file.iter().filter(|f| !ours(f)).cloned().collect();
    file.iter_mut().for_each(|f| f.source_code_info = None);
    FileDescriptorSet { file }
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
