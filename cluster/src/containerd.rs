//! The cluster's own containerd: own root, state and socket; a child that outlives us, so that containers
//! go on running while `keelson` is away.

use crate::fail::{Context, Failure, Result};
use crate::layout::{Layout, write_private};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a fresh containerd may take to answer.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// The pause image, made by [`crate::images`].
pub const PAUSE_IMAGE: &str = "localhost/keelson/pause:1";

fn config(layout: &Layout) -> String {
    // Lowering oom_score_adj needs CAP_SYS_RESOURCE, which containers of machines lack at times: runc would
    // then fail every container with a message that names nothing.
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt"]

[grpc]
  address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{cni}"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
  Root = "{runc}"

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
"#,
        root = layout.containerd_root().display(),
        state = layout.containerd_state().display(),
        socket = layout.containerd_socket().display(),
        pause = PAUSE_IMAGE,
        cni = layout.cni_conf().display(),
        runc = layout.run.join("runc").display(),
    )
}

/// Pid of our containerd, when it lives: a pid that was given to another program does not count.
pub fn running(layout: &Layout) -> Option<i32> {
    let pid: i32 = fs::read_to_string(layout.containerd_pid()).ok()?.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let ours = layout.containerd_config();
    let named = command
        .split(|b| *b == 0)
        .any(|a| a == ours.as_os_str().as_encoded_bytes());
    (named && !is_zombie(pid)).then_some(pid)
}

fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// Starts it, or finds it running. Returns its pid at once: [`wait_ready`] waits for its socket.
pub fn start(layout: &Layout) -> Result<i32> {
    let text = config(layout);
    let path = layout.containerd_config();
    let same = fs::read_to_string(&path).is_ok_and(|old| old == text);
    if let Some(pid) = running(layout) {
        if same {
            return Ok(pid);
        }
        stop(layout)?;
    }
    write_private(&path, text.as_bytes())?;
    let log_path = layout.data.join("log/containerd.log");
    let log = fs::File::create(&log_path).context(|| format!("create {}", log_path.display()))?;
    let errors = log.try_clone().context(|| "open containerd's log twice")?;
    let program = crate::preflight::find("containerd").ok_or_else(|| Failure::new("containerd is not on the PATH"))?;
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0);
    // A session of its own: a hang-up of the user's terminal must not end it.
    // SAFETY: setsid is async-signal-safe and touches no memory of this process.
    unsafe {
        command.pre_exec(|| {
            let _ = rustix::process::setsid();
            Ok(())
        });
    }
    let child = command.spawn().context(|| "start containerd")?;
    let pid = child.id() as i32;
    write_private(&layout.containerd_pid(), pid.to_string().as_bytes())?;
    // Whoever is its parent must reap it; a thread that only waits costs nothing.
    std::thread::Builder::new()
        .name("containerd-wait".into())
        .stack_size(64 << 10)
        .spawn(move || {
            let mut child = child;
            match child.wait() {
                Ok(status) => tracing::warn!(%status, "containerd ended"),
                Err(error) => tracing::warn!(%error, "wait for containerd"),
            }
        })
        .context(|| "start a thread")?;
    Ok(pid)
}

/// Waits until the socket takes connections.
pub fn wait_ready(layout: &Layout) -> Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    let socket = layout.containerd_socket();
    while Instant::now() < deadline {
        if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
            return Ok(());
        }
        if running(layout).is_none() {
            break;
        }
        std::thread::sleep(POLL);
    }
    Err(Failure::new(format!(
        "containerd did not come up: {}",
        last_error(&layout.data.join("log/containerd.log")).unwrap_or_else(|| "its log says nothing".into())
    )))
}

fn last_error(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let mark = |l: &&str| l.contains("level=fatal") || l.contains("level=error") || l.starts_with("containerd:");
    text.lines().rev().find(mark).map(str::to_owned)
}

/// Ends it and its shims. Containers are to be stopped first.
pub fn stop(layout: &Layout) -> Result<()> {
    if let Some(pid) = running(layout) {
        end(pid, STOP_TIMEOUT)?;
    }
    for pid in shims(layout) {
        end(pid, Duration::from_secs(2))?;
    }
    for f in [
        layout.containerd_pid(),
        layout.containerd_socket(),
        layout.containerd_config(),
    ] {
        let _ = fs::remove_file(f);
    }
    Ok(())
}

/// Shims of this containerd: they carry its socket in their arguments.
pub fn shims(layout: &Layout) -> Vec<i32> {
    let socket = layout.containerd_socket();
    let socket = socket.as_os_str().as_encoded_bytes();
    let mut found = Vec::new();
    for e in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = e.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let Ok(command) = fs::read(e.path().join("cmdline")) else {
            continue;
        };
        let mut args = command.split(|b| *b == 0);
        let is_shim = args.next().is_some_and(|a| a.ends_with(b"containerd-shim-runc-v2"));
        if is_shim && args.any(|a| a == socket) {
            found.push(pid);
        }
    }
    found
}

/// SIGTERM, then SIGKILL when `patience` is over; returns when the process is gone.
pub fn end(pid: i32, patience: Duration) -> Result<()> {
    use nix::sys::signal::{Signal, kill};
    let to = nix::unistd::Pid::from_raw(pid);
    let gone = |p: i32| !Path::new(&format!("/proc/{p}")).exists() || is_zombie(p);
    for (signal, patience) in [(Signal::SIGTERM, patience), (Signal::SIGKILL, STOP_TIMEOUT)] {
        if kill(to, signal).is_err() {
            return Ok(());
        }
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if gone(pid) {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
    }
    Err(Failure::new(format!("process {pid} does not end")))
}

/// Runs `ctr` against this containerd, in the namespace that the kubelet uses.
pub fn ctr(layout: &Layout, args: &[&str]) -> Result<String> {
    let socket = layout.containerd_socket();
    let mut all = vec![
        "--address",
        socket.to_str().unwrap_or_default(),
        "--namespace",
        "k8s.io",
    ];
    all.extend(args);
    crate::network::tool("ctr", &all)
}

/// Kills every container and removes the sandboxes' network namespaces and mounts. Used by `down`, with no
/// API server running.
pub fn remove_all(layout: &Layout) -> Result<()> {
    for id in ctr(layout, &["tasks", "list", "--quiet"])?.split_whitespace() {
        let _ = ctr(layout, &["tasks", "kill", "--signal", "SIGKILL", "--all", id]);
    }
    let deadline = Instant::now() + STOP_TIMEOUT;
    loop {
        let listed = ctr(layout, &["tasks", "list"])?;
        let running: Vec<&str> = listed.lines().skip(1).filter(|l| l.contains("RUNNING")).collect();
        if running.is_empty() || Instant::now() > deadline {
            break;
        }
        std::thread::sleep(POLL);
    }
    for id in ctr(layout, &["tasks", "list", "--quiet"])?.split_whitespace() {
        let _ = ctr(layout, &["tasks", "delete", "--force", id]);
    }
    for id in ctr(layout, &["containers", "list", "--quiet"])?.split_whitespace() {
        let _ = ctr(layout, &["containers", "delete", id]);
    }
    Ok(())
}
