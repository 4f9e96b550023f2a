//! Programs of the system that are run to their end: `ip`, `nft`, `mkfs.ext4`.

use super::error::WorldError;
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs a program in the calling thread's namespaces, with `input` on its standard input.
///
/// # Errors
/// [`WorldError::Unavailable`] when it is not there, [`WorldError::Command`] when it fails.
pub(super) fn run(program: &str, args: &[&str], input: &str) -> Result<String, WorldError> {
    let failed = |said: String| WorldError::Command {
        command: format!("{program} {}", args.join(" ")),
        said,
    };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => WorldError::Unavailable(format!("{program} is missing: install it")),
            _ => failed(e.to_string()),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read has its own reasons, which its status tells.
        let _ = stdin.write_all(input.as_bytes());
    }
    let out = child.wait_with_output().map_err(|e| failed(e.to_string()))?;
    if out.status.success() {
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    } else {
        Err(failed(String::from_utf8_lossy(&out.stderr).trim().to_owned()))
    }
}
