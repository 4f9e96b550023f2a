//! hostPath's types (upstream: pkg/volume/hostpath).
use crate::{Error, Result};
use k8s_openapi::api::core::v1::HostPathVolumeSource;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

/// Checks that the path is what its type says, making it where the type says so.
pub fn check(source: &HostPathVolumeSource) -> Result<()> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let fail = |what: &str| Error::Config(format!("hostPath type check failed: {} is not {what}", source.path));
    let make = |what: &str| Error::io(format!("make {what} {}", source.path));
    let found = fs::metadata(path).ok();
    let is = |f: fn(&fs::FileType) -> bool| found.as_ref().is_some_and(|m| f(&m.file_type()));
    match kind {
        "" => Ok(()),
        "DirectoryOrCreate" if found.is_none() => {
            fs::create_dir_all(path).map_err(make("directory"))?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(make("directory"))
        }
        "FileOrCreate" if found.is_none() => {
            let file = fs::OpenOptions::new().create(true).append(true).open(path);
            let file = file.map_err(make("file"))?;
            file.set_permissions(fs::Permissions::from_mode(0o644))
                .map_err(make("file"))
        }
        "Directory" | "DirectoryOrCreate" => is(fs::FileType::is_dir)
            .then_some(())
            .ok_or_else(|| fail("a directory")),
        "File" | "FileOrCreate" => is(fs::FileType::is_file).then_some(()).ok_or_else(|| fail("a file")),
        "Socket" => is(fs::FileType::is_socket)
            .then_some(())
            .ok_or_else(|| fail("a socket")),
        "CharDevice" => is(fs::FileType::is_char_device)
            .then_some(())
            .ok_or_else(|| fail("a character device")),
        "BlockDevice" => is(fs::FileType::is_block_device)
            .then_some(())
            .ok_or_else(|| fail("a block device")),
        other => Err(Error::Config(format!("unknown hostPath type {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn types() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str, kind: &str| HostPathVolumeSource {
            path: dir.path().join(name).to_string_lossy().into_owned(),
            type_: Some(kind.to_owned()),
        };
        assert!(check(&at("x", "Directory")).is_err());
        assert!(check(&at("x", "DirectoryOrCreate")).is_ok());
        assert!(check(&at("x", "Directory")).is_ok());
        assert!(check(&at("x", "File")).is_err());
        assert!(check(&at("f", "FileOrCreate")).is_ok());
        assert!(check(&at("f", "Socket")).is_err());
        assert!(check(&at("gone", "")).is_ok());
    }
}
