//! A log file that is set aside when it is full.
//!
//! Old ones are named `NAME-2006-01-02T15-04-05.000.EXT`, as tools that collect them expect; they go when there are too
//! many, or when they are too old, and are compressed when that is asked for.

use flate2::write::GzEncoder;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::Deserialize;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

const MEGABYTE: u64 = 1 << 20;
const SIZE_MB_DEFAULT: u64 = 100;
const STAMP: &str = "%Y-%m-%dT%H-%M-%S%.3f";
/// Of the stamp, as text.
const STAMP_BYTES: usize = 23;

/// `--log-rotation-config-json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Rotation {
    /// Megabytes; 0 is 100.
    pub maxsize: u64,
    /// Days; 0 is for ever.
    pub maxage: u32,
    /// Old files; 0 is any number.
    pub maxbackups: usize,
    /// Stamps in local time; UTC otherwise.
    pub localtime: bool,
    pub compress: bool,
}

impl Default for Rotation {
    fn default() -> Self {
        Rotation {
            maxsize: SIZE_MB_DEFAULT,
            maxage: 0,
            maxbackups: 0,
            localtime: false,
            compress: false,
        }
    }
}

impl Rotation {
    pub fn parse(json: &str) -> Result<Rotation, String> {
        use serde_json::error::Category;
        serde_json::from_str(json).map_err(|e| match e.classify() {
            Category::Syntax | Category::Eof => format!("improperly formatted log rotation config: {e}"),
            Category::Data | Category::Io => format!("invalid log rotation config: {e}"),
        })
    }

    fn bytes_max(&self) -> u64 {
        let megabytes = if self.maxsize == 0 {
            SIZE_MB_DEFAULT
        } else {
            self.maxsize
        };
        megabytes.saturating_mul(MEGABYTE)
    }
}

pub struct Rotating {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    written_bytes: u64,
}

fn append(path: &Path) -> std::io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

fn compress(path: &Path) -> std::io::Result<()> {
    let named = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let unfinished = named(".gz.tmp");
    let mut gzip = GzEncoder::new(File::create(&unfinished)?, flate2::Compression::default());
    std::io::copy(&mut File::open(path)?, &mut gzip)?;
    gzip.finish()?.sync_all()?;
    std::fs::rename(&unfinished, named(".gz"))?;
    std::fs::remove_file(path)
}

impl Rotating {
    pub fn open(path: &Path, rotation: Rotation) -> std::io::Result<Rotating> {
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let (file, written_bytes) = append(path)?;
        Ok(Rotating {
            path: path.to_owned(),
            rotation,
            file,
            written_bytes,
        })
    }

    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let more = bytes.len() as u64;
        if self.written_bytes > 0 && self.written_bytes + more > self.rotation.bytes_max() {
            self.rotate()?;
        }
        self.file.write_all(bytes)?;
        self.written_bytes += more;
        Ok(())
    }

    fn parts(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
        let extension = text(self.path.extension());
        let dotted = if extension.is_empty() {
            extension
        } else {
            format!(".{extension}")
        };
        (text(self.path.file_stem()), dotted)
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        let (stem, extension) = self.parts();
        let zone = if self.rotation.localtime {
            TimeZone::system()
        } else {
            TimeZone::UTC
        };
        let stamp = Zoned::new(Timestamp::now(), zone).strftime(STAMP).to_string();
        let aside = self.path.with_file_name(format!("{stem}-{stamp}{extension}"));
        std::fs::rename(&self.path, &aside)?;
        (self.file, self.written_bytes) = append(&self.path)?;
        self.clean();
        if self.rotation.compress {
            // Not waited for: it may take a while. One that is cut off leaves the file as it was.
            std::thread::spawn(move || compress(&aside));
        }
        Ok(())
    }

    /// Old files with their stamps, newest first.
    fn set_aside(&self) -> Vec<(String, PathBuf)> {
        let (stem, extension) = self.parts();
        let prefix = format!("{stem}-");
        let folder = self
            .path
            .parent()
            .filter(|f| !f.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let Ok(entries) = std::fs::read_dir(folder) else {
            return Vec::new();
        };
        let stamp = |name: &str| {
            let rest = name.strip_prefix(&prefix)?;
            let rest = rest.strip_suffix(".gz").unwrap_or(rest);
            let stamp = rest.strip_suffix(&extension)?;
            (stamp.len() == STAMP_BYTES && stamp.starts_with(|c: char| c.is_ascii_digit())).then(|| stamp.to_owned())
        };
        let mut found: Vec<(String, PathBuf)> = entries
            .flatten()
            .filter_map(|e| Some((stamp(&e.file_name().to_string_lossy())?, e.path())))
            .collect();
        found.sort();
        found.reverse();
        found
    }

    fn clean(&self) {
        let Rotation { maxage, maxbackups, .. } = self.rotation;
        let oldest = jiff::SignedDuration::from_hours(24 * i64::from(maxage));
        let oldest = Timestamp::now().checked_sub(oldest).ok();
        let zone = if self.rotation.localtime {
            TimeZone::system()
        } else {
            TimeZone::UTC
        };
        let oldest = oldest.map(|at| Zoned::new(at, zone).strftime(STAMP).to_string());
        for (position, (stamp, path)) in self.set_aside().into_iter().enumerate() {
            let too_many = maxbackups > 0 && position >= maxbackups;
            let too_old = maxage > 0 && oldest.as_ref().is_some_and(|oldest| stamp < *oldest);
            if too_many || too_old {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_configuration_is_json() {
        let parsed = Rotation::parse(r#"{"maxsize": 1, "maxbackups": 2, "compress": true}"#).unwrap();
        assert_eq!((parsed.maxsize, parsed.maxbackups, parsed.compress), (1, 2, true));
        let error = |text| Rotation::parse(text).unwrap_err();
        assert!(error("x").starts_with("improperly formatted log rotation config: "));
        assert!(error(r#"{"maxsize":"a"}"#).starts_with("invalid log rotation config: "));
    }

    #[test]
    fn a_full_file_is_set_aside_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/etcd.log");
        let rotation = Rotation {
            maxsize: 1,
            maxbackups: 2,
            ..Rotation::default()
        };
        let mut log = Rotating::open(&path, rotation).unwrap();
        let old = ["2001-01-01T00-00-00.000", "2002-01-01T00-00-00.000"];
        for stamp in old {
            std::fs::write(dir.path().join(format!("logs/etcd-{stamp}.log")), "old").unwrap();
        }
        std::fs::write(dir.path().join("logs/etcd-other.log"), "not ours").unwrap();
        let half = vec![b'x'; 600 << 10];
        log.write(&half).unwrap();
        log.write(&half).unwrap();
        let names: Vec<String> = log
            .set_aside()
            .iter()
            .map(|(_, p)| p.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(names.get(1).unwrap(), "etcd-2002-01-01T00-00-00.000.log");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), half.len() as u64);
        assert!(dir.path().join("logs/etcd-other.log").exists());
    }

    #[test]
    fn compressed_is_the_same_in_less() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd-2002-01-01T00-00-00.000.log");
        let text = "the same line\n".repeat(1000);
        std::fs::write(&path, &text).unwrap();
        compress(&path).unwrap();
        assert!(!path.exists());
        let packed = File::open(dir.path().join("etcd-2002-01-01T00-00-00.000.log.gz")).unwrap();
        assert!(packed.metadata().unwrap().len() < 500);
        let mut found = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed), &mut found).unwrap();
        assert_eq!(found, text);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
