//! `keelson up`: checks the machine, starts everything, and returns when the node is Ready.
//!
//! The cluster runs in a process of its own that `up` leaves behind; it reports on its standard output, a
//! line each: `step TEXT`, then `ready` or `failed TEXT`.

use crate::cli::UpArgs;
use crate::fail::{Context, Failure, Result};
use crate::layout::Layout;
use crate::state::{State, Wanted};
use crate::{cgroups, components, containerd, control, down, images, kubeconfig, network, pki, preflight, status};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take until the node must be Ready.
pub const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// Pid of the process that runs the cluster, if one does: it holds a lock for its whole life.
pub fn holder(layout: &Layout) -> Result<Option<i32>> {
    let path = layout.lock_file();
    let mut file = match File::open(&path) {
        Ok(f) => f,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::new(format!("open {}: {e}", path.display()))),
    };
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            file.read_to_string(&mut text)
                .context(|| format!("read {}", path.display()))?;
            let pid = text.trim().parse().map_err(|_| {
                Failure::new(format!(
                    "{} is locked but names no process: try again in a moment",
                    path.display()
                ))
            })?;
            Ok(Some(pid))
        }
        Err(e) => Err(Failure::new(format!("lock {}: {e}", path.display()))),
    }
}

/// Takes the lock and writes our pid into it.
fn hold(layout: &Layout) -> Result<File> {
    let path = layout.lock_file();
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .context(|| format!("open {}", path.display()))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| Failure::new(format!("cluster {:?} is being started or is up already", layout.name)))?;
    let write = |f: &mut File| -> std::io::Result<()> {
        f.set_len(0)?;
        f.rewind()?;
        f.write_all(std::process::id().to_string().as_bytes())
    };
    write(&mut file).context(|| format!("write {}", path.display()))?;
    Ok(file)
}

fn already_up(layout: &Layout) -> Result<bool> {
    if holder(layout)?.is_none() {
        return Ok(false);
    }
    match control::ask(layout)? {
        Some(r) if r.ready => println!("cluster {:?} is up already: {} (node Ready)", layout.name, r.server),
        Some(r) => println!(
            "cluster {:?} is up already: {}, but not ready; see `keelson status --name {}`",
            layout.name, r.server, layout.name
        ),
        None => println!("cluster {:?} is being started by another `keelson up`", layout.name),
    }
    Ok(true)
}

/// Starts the cluster in a process of its own and follows its progress.
pub fn background(layout: &Layout, args: &UpArgs, kubeconfig: &Path) -> Result<()> {
    preflight::root()?;
    if already_up(layout)? {
        return Ok(());
    }
    let began = Instant::now();
    let program = std::env::current_exe().context(|| "find this program's path")?;
    let mut command = Command::new(program);
    command
        .args(["up", "--foreground", "--report", "--name", &layout.name])
        .args(["--api-port", &args.api_port.to_string()])
        .args(["--etcd-port", &args.etcd_port.to_string()])
        .args(["--kubelet-port", &args.kubelet_port.to_string()])
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: setsid is async-signal-safe and touches no memory of this process.
    unsafe {
        command.pre_exec(|| {
            let _ = rustix::process::setsid();
            Ok(())
        });
    }
    let mut child = command.spawn().context(|| "start the cluster's process")?;
    let Some(out) = child.stdout.take() else {
        return Err(Failure::new("the cluster's process has no output"));
    };
    for line in BufReader::new(out).lines() {
        let line = line.context(|| "read the cluster's progress")?;
        match line.split_once(' ').unwrap_or((line.as_str(), "")) {
            ("step", text) => println!("  {text}"),
            ("ready", _) => {
                println!(
                    "cluster {:?} is up: node Ready after {:.1} s",
                    layout.name,
                    began.elapsed().as_secs_f64()
                );
                print_next(layout);
                return Ok(());
            }
            ("failed", text) => return Err(Failure::new(text)),
            _ => println!("  {line}"),
        }
    }
    let mut rest = String::new();
    if let Some(mut e) = child.stderr.take() {
        let _ = e.read_to_string(&mut rest);
    }
    let rest = rest.lines().last().unwrap_or("it said nothing").to_owned();
    Err(Failure::new(format!(
        "the cluster's process ended early: {rest} (log: {})",
        layout.log_file().display()
    )))
}

fn print_next(layout: &Layout) {
    let context = if layout.name == "keelson" {
        String::new()
    } else {
        format!(" --context {}", layout.name)
    };
    println!();
    println!("Try next:");
    println!("  kubectl{context} get nodes");
    println!(
        "  kubectl{context} create deployment web --image={} --replicas=2 --port=8080",
        images::DEMO_IMAGES[0]
    );
    println!("  kubectl{context} expose deployment web --type=NodePort --port=80 --target-port=8080");
    if Path::new("/run/systemd/system").exists() {
        println!();
        println!(
            "To start it with the machine: keelson systemd-unit --name {} > /etc/systemd/system/keelson-{}.service",
            layout.name, layout.name
        );
    }
}

/// Says how far the start is: to the waiting `up`, and to the log.
pub struct Reporter {
    to_parent: bool,
}

impl Reporter {
    pub fn step(&self, text: &str) {
        tracing::info!("{text}");
        self.line("step", text);
    }
    fn line(&self, kind: &str, text: &str) {
        if self.to_parent {
            let mut out = std::io::stdout().lock();
            // Nobody may be listening any more; that is not our failure.
            let _ = writeln!(out, "{kind} {}", text.replace('\n', " "));
            let _ = out.flush();
        }
    }
    /// The last line: from here on nobody reads our output.
    fn finish(&mut self, kind: &str, text: &str) {
        self.line(kind, text);
        if std::mem::take(&mut self.to_parent)
            && let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null")
        {
            let _ = rustix::stdio::dup2_stdout(&null);
            let _ = rustix::stdio::dup2_stderr(&null);
        }
    }
}

/// Runs the cluster in this process until it is told to stop.
pub fn foreground(layout: &Layout, wanted: Wanted, kubeconfig: &Path, report: bool) -> Result<()> {
    preflight::root()?;
    if !report && already_up(layout)? {
        return Ok(());
    }
    let mut reporter = Reporter { to_parent: report };
    let outcome = start_and_run(layout, wanted, kubeconfig, &mut reporter);
    if let Err(e) = &outcome {
        tracing::error!(error = %e, "the cluster ends");
        reporter.finish("failed", &e.to_string());
    }
    outcome
}

fn start_and_run(layout: &Layout, wanted: Wanted, kubeconfig: &Path, reporter: &mut Reporter) -> Result<()> {
    // What can be told without leaving a trace is told first.
    preflight::programs()?;
    preflight::kernel()?;
    preflight::disk(&layout.data)?;
    let known = State::load(layout)?;
    let fresh = known.is_none();
    let mut state = match known {
        Some(s) => s,
        None => State::choose(wanted)?,
    };
    state.check_ports()?;
    layout.create()?;
    let lock = hold(layout)?;
    crate::logs::init(reporter.to_parent.then(|| layout.log_file()).as_deref())?;
    state.kubeconfig = Some(kubeconfig.to_owned());
    state.save(layout)?;
    let outcome = bring_up(layout, &state, kubeconfig, reporter);
    if let Err(components::Ended::BeforeReady(e)) = outcome {
        // Nothing half-started stays: a first start is forgotten whole, a later one keeps its data.
        let undone = if fresh {
            down::teardown(layout).and_then(|()| down::forget(layout, Some(&state)))
        } else {
            down::teardown(layout)
        };
        if let Err(again) = undone {
            tracing::error!(error = %again, "undo the start");
        }
        drop(lock);
        return Err(e);
    }
    drop(lock);
    match outcome {
        Ok(()) => Ok(()),
        Err(components::Ended::BeforeReady(e) | components::Ended::Running(e)) => Err(e),
    }
}

fn bring_up(
    layout: &Layout,
    state: &State,
    kubeconfig: &Path,
    reporter: &mut Reporter,
) -> Result<(), components::Ended> {
    let before = components::Ended::BeforeReady;
    reporter.step("preparing the node: keys, cgroup, network, containerd");
    let names = pki::Names {
        node_name: &state.node_name,
        node_ip: state.node_ip,
        api_service_ip: state.api_service_ip().into(),
    };
    let keys = pki::prepare(layout, &names).map_err(before)?;
    cgroups::create(&layout.cgroup_parent()).map_err(before)?;
    network::create(layout, state).map_err(before)?;
    network::write_cni(layout, state).map_err(before)?;
    let had_containerd = containerd::running(layout).is_some();
    containerd::start(layout).map_err(before)?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().min(4)))
        .max_blocking_threads(16)
        .thread_stack_size(1 << 20)
        .enable_all()
        .build()
        .context(|| "start the runtime")
        .map_err(before)?;
    let access = status::etcd_access(layout, state);
    runtime.block_on(async {
        let cluster = components::start(layout, state, &keys).await;
        let node = async {
            reporter.step("starting the datastore, the API server, controllers, scheduler and node agent");
            let l = layout.clone();
            let images = tokio::task::spawn_blocking(move || {
                containerd::wait_ready(&l)?;
                if had_containerd { Ok(()) } else { images::ensure(&l) }
            });
            images.await.context(|| "prepare images").and_then(|r| r).map_err(before)?;
            write_kubeconfigs(layout, state, &keys, kubeconfig).map_err(before)?;
            cluster.wait_ready(READY_TIMEOUT).await.map_err(before)?;
            reporter.finish("ready", &access.endpoint);
            tracing::info!("the node is Ready");
            Ok(())
        };
        let early = tokio::select! {
            r = node => r,
            r = components::signalled() => Err(before(r.err().unwrap_or_else(|| Failure::new("stopped before it was ready")))),
        };
        if early.is_err() {
            cluster.shutdown().await;
            return early;
        }
        cluster.run(layout, state).await.map_err(components::Ended::Running)
    })
}

fn write_kubeconfigs(layout: &Layout, state: &State, keys: &pki::Pki, user: &Path) -> Result<()> {
    let read = |p: &Path| fs::read(p).context(|| format!("read {}", p.display()));
    let admin = keys.pair("admin");
    let (ca, cert, key) = (read(&keys.ca())?, read(&admin.cert)?, read(&admin.key)?);
    let server = state.server();
    let entry = kubeconfig::Entry {
        name: &layout.name,
        server: &server,
        ca: &ca,
        cert: &cert,
        key: &key,
    };
    kubeconfig::write(&layout.admin_kubeconfig(), &entry)?;
    kubeconfig::merge(user, &entry)
}

/// A unit for machines that systemd runs: the containers outlive a restart of the service.
pub fn systemd_unit(program: &Path, name: &str) -> String {
    format!(
        "[Unit]\nDescription=Keelson cluster {name}\nAfter=network-online.target\nWants=network-online.target\n\n\
         [Service]\nExecStart={program} up --foreground --name {name}\nKillMode=process\nDelegate=yes\nRestart=always\nRestartSec=1\nLimitNOFILE=1048576\nTasksMax=infinity\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        program = program.display(),
    )
}
