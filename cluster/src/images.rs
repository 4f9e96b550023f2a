//! Images without a registry: pause and a small demo image, built from static programs that Debian ships,
//! and the `keelson images` commands.

use crate::containerd::{PAUSE_IMAGE, ctr};
use crate::fail::{Context, Failure, Result};
use crate::layout::Layout;
use serde_json::json;
use sha2::Digest;
use std::fs;
use std::path::{Path, PathBuf};

pub const DEMO_IMAGES: [&str; 2] = ["localhost/keelson/demo:1.0", "localhost/keelson/demo:2.0"];

/// What the demo image serves on port 8080: which pod answered and which version it is.
const DEMO_SCRIPT: &str = r#"#!/bin/sh
# A web server that says who it is. PORT and GREETING may be set in the environment.
mkdir -p /tmp/www/cgi-bin
printf '%s from %s, demo %s\n' "${GREETING:-hello}" "$(hostname)" "$DEMO_VERSION" > /tmp/www/index.html
echo "demo $DEMO_VERSION listens on ${PORT:-8080}"
trap 'exit 0' TERM INT
httpd -f -p "${PORT:-8080}" -h /tmp/www &
wait $!
"#;

struct Image {
    tag: &'static str,
    program: &'static str,
    package: &'static str,
    demo: Option<&'static str>,
}

const IMAGES: [Image; 3] = [
    Image {
        tag: PAUSE_IMAGE,
        program: "catatonit",
        package: "catatonit",
        demo: None,
    },
    Image {
        tag: DEMO_IMAGES[0],
        program: "busybox",
        package: "busybox-static",
        demo: Some("1.0"),
    },
    Image {
        tag: DEMO_IMAGES[1],
        program: "busybox",
        package: "busybox-static",
        demo: Some("2.0"),
    },
];

/// A layer under construction.
struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Layer(tar::Builder::new(Vec::new()))
    }
    fn entry(&mut self, kind: tar::EntryType, path: &str, mode: u32, link: Option<&str>, bytes: &[u8]) -> Result<()> {
        let doing = || format!("write {path} into an image layer");
        let mut h = tar::Header::new_gnu();
        h.set_entry_type(kind);
        h.set_mode(mode);
        h.set_size(bytes.len() as u64);
        if let Some(l) = link {
            h.set_link_name(l).context(doing)?;
        }
        h.set_cksum();
        self.0.append_data(&mut h, path, bytes).context(doing)
    }
    fn dir(&mut self, path: &str, mode: u32) -> Result<()> {
        self.entry(tar::EntryType::Directory, path, mode, None, &[])
    }
    fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        self.entry(tar::EntryType::Regular, path, mode, None, bytes)
    }
    fn link(&mut self, path: &str, to: &str) -> Result<()> {
        self.entry(tar::EntryType::Symlink, path, 0o777, Some(to), &[])
    }
    fn finish(self) -> Result<Vec<u8>> {
        self.0.into_inner().context(|| "finish an image layer")
    }
}

fn sha(bytes: &[u8]) -> String {
    hex::encode(sha2::Sha256::digest(bytes))
}

/// An image archive as `docker save` writes it: one layer, its configuration, a manifest.
fn archive(tag: &str, layer: Vec<u8>, config: serde_json::Value) -> Result<Vec<u8>> {
    let mut c = config;
    c["architecture"] = json!(if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    });
    c["os"] = json!("linux");
    c["rootfs"] = json!({"type": "layers", "diff_ids": [format!("sha256:{}", sha(&layer))]});
    let c = c.to_string();
    let name = format!("{}.json", sha(c.as_bytes()));
    let manifest = json!([{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]).to_string();
    let mut out = Layer::new();
    out.file("layer.tar", 0o644, &layer)?;
    out.file(&name, 0o644, c.as_bytes())?;
    out.file("manifest.json", 0o644, manifest.as_bytes())?;
    out.finish()
}

/// Applets of a busybox, asked of itself.
fn applets(busybox: &Path) -> Result<Vec<String>> {
    let list = crate::network::tool(busybox.to_str().unwrap_or("busybox"), &["--list"])?;
    Ok(list
        .lines()
        .map(str::to_owned)
        .filter(|a| a != "busybox" && !a.is_empty())
        .collect())
}

fn build(image: &Image) -> Result<Vec<u8>> {
    let program = crate::preflight::find(image.program)
        .ok_or_else(|| Failure::new(format!("missing from this machine: apt-get install {}", image.package)))?;
    let bytes = fs::read(&program).context(|| format!("read {}", program.display()))?;
    let mut layer = Layer::new();
    let Some(version) = image.demo else {
        layer.file("pause", 0o755, &bytes)?;
        let config = json!({"config": {"Entrypoint": ["/pause", "-P"], "User": "65535:65535"}});
        return archive(image.tag, layer.finish()?, config);
    };
    for (dir, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("root", 0o700),
        ("tmp", 0o1777),
        ("usr", 0o755),
        ("usr/bin", 0o755),
    ] {
        layer.dir(dir, mode)?;
    }
    layer.file("bin/busybox", 0o755, &bytes)?;
    for applet in applets(&program)? {
        layer.link(&format!("bin/{applet}"), "busybox")?;
    }
    layer.link("usr/bin/env", "../../bin/busybox")?;
    layer.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    layer.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    layer.file("bin/demo", 0o755, DEMO_SCRIPT.as_bytes())?;
    let env = ["PATH=/bin:/usr/bin".to_owned(), format!("DEMO_VERSION={version}")];
    let config = json!({"config": {
        "Cmd": ["/bin/demo"], "Env": env, "ExposedPorts": {"8080/tcp": {}},
        "Labels": {"org.opencontainers.image.version": version},
    }});
    archive(image.tag, layer.finish()?, config)
}

/// Builds and imports what this containerd does not hold yet.
pub fn ensure(layout: &Layout) -> Result<()> {
    let held = ctr(layout, &["images", "list", "--quiet"])?;
    for image in &IMAGES {
        if held.lines().any(|l| l == image.tag) {
            continue;
        }
        let file = layout.data.join("image.tar.part");
        fs::write(&file, build(image)?).context(|| format!("write {}", file.display()))?;
        let imported = import(layout, &file);
        let _ = fs::remove_file(&file);
        imported?;
    }
    Ok(())
}

/// `keelson images import`: returns the names it brought.
pub fn import(layout: &Layout, file: &Path) -> Result<Vec<String>> {
    let file: PathBuf = fs::canonicalize(file).context(|| format!("open {}", file.display()))?;
    let path = file
        .to_str()
        .ok_or_else(|| Failure::new("the file's path is not UTF-8"))?;
    let out = ctr(layout, &["images", "import", path])?;
    Ok(out
        .lines()
        .filter_map(|l| l.strip_prefix("unpacking "))
        .map(|l| l.split(" (").next().unwrap_or(l).to_owned())
        .collect())
}

/// `keelson images list`: name and size of each.
pub fn list(layout: &Layout) -> Result<Vec<(String, String)>> {
    let out = ctr(layout, &["images", "list"])?;
    let rows = out.lines().skip(1).filter_map(|l| {
        let f: Vec<&str> = l.split_whitespace().collect();
        let name = *f.first()?;
        let unit = f.iter().position(|w| matches!(*w, "B" | "KiB" | "MiB" | "GiB"))?;
        (!name.starts_with("sha256:")).then(|| (name.to_owned(), format!("{} {}", f[unit - 1], f[unit])))
    });
    Ok(rows.collect())
}

/// `keelson images remove`.
pub fn remove(layout: &Layout, name: &str) -> Result<()> {
    if !list(layout)?.iter().any(|(n, _)| n == name) {
        return Err(Failure::new(format!(
            "no image {name:?} here: `keelson images list` names them all"
        )));
    }
    ctr(layout, &["images", "remove", "--sync", name]).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;

    #[test]
    fn an_archive_names_its_layer_by_its_digest() {
        let mut layer = Layer::new();
        layer.file("x", 0o644, b"y").unwrap();
        let layer = layer.finish().unwrap();
        let digest = sha(&layer);
        let bytes = archive("localhost/t:1", layer, json!({})).unwrap();
        let mut found = std::collections::BTreeMap::new();
        for e in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let mut e = e.unwrap();
            let name = e.path().unwrap().display().to_string();
            let mut body = Vec::new();
            e.read_to_end(&mut body).unwrap();
            found.insert(name, body);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&found["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "localhost/t:1");
        let config: serde_json::Value =
            serde_json::from_slice(&found[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{digest}"));
    }
}
