//! The command line.

use crate::component::{self, Component};
use crate::fail::{Context, Failure, Result};
use crate::layout::Layout;
use crate::state::Wanted;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    name = "keelson",
    version,
    about = "Kubernetes from scratch, storage first: one command, a whole cluster"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster on this machine, or find it running
    Up(UpArgs),
    /// Stop the cluster: processes, containers, mounts, network, cgroups
    Down(DownArgs),
    /// Tell the cluster's health, component by component
    Status(StatusArgs),
    /// Images of the cluster's own containerd
    Images(ImagesArgs),
    /// Print a systemd unit that runs the cluster as a service
    SystemdUnit(NameArgs),
    /// Run the API server alone on an etcd, with kube-apiserver's flags
    KubeApiserver(Box<crate::component::ApiserverArgs>),
    /// Run the scheduler alone, with kube-scheduler's flags
    KubeScheduler(crate::component::SchedulerArgs),
    /// Run the datastore alone, with etcd's flags, or one of its tools (`keelson kvstore --help`)
    #[command(disable_help_flag = true)]
    Kvstore {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// Runs the datastore, if it is that which was started: under the name `etcd`, or as `keelson kvstore`. Its command line
/// is not clap's.
pub fn datastore() -> Option<std::process::ExitCode> {
    let mut args = std::env::args_os();
    let program = args.next()?.to_string_lossy().into_owned();
    if !keelson_kvstore_cli::is_etcd(&program) && args.next()? != "kvstore" {
        return None;
    }
    Some(keelson_kvstore_cli::main(&program, args.collect()))
}

#[derive(Args)]
pub struct NameArgs {
    /// Name of the cluster, and of its kubeconfig context
    #[arg(long, default_value = "keelson", global = true)]
    pub name: String,
}

#[derive(Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub name: NameArgs,
    /// Stay in the foreground, logging to standard error (for service managers)
    #[arg(long)]
    pub foreground: bool,
    /// Port of the API server (default: 6443 or the next free one)
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub api_port: u16,
    /// Port of the datastore, on loopback (default: 2379 or the next free one)
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub etcd_port: u16,
    /// Port of the kubelet (default: 10250 or the next free one)
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub kubelet_port: u16,
    /// Kubeconfig to merge the context into (default: $KUBECONFIG, else ~/.kube/config)
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Report progress on standard output, a line each (used by `up` on the process it leaves behind)
    #[arg(long, hide = true)]
    pub report: bool,
}

#[derive(Args)]
struct DownArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Forget the cluster too: its data, images, keys and kubeconfig context
    #[arg(long)]
    purge: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

#[derive(Args)]
struct StatusArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Args)]
struct ImagesArgs {
    #[command(flatten)]
    name: NameArgs,
    #[command(subcommand)]
    command: ImagesCommand,
}

#[derive(Subcommand)]
enum ImagesCommand {
    /// Import an archive that `docker save` or an OCI builder wrote
    Import { file: PathBuf },
    /// List names and sizes
    List,
    /// Remove an image by name
    Remove { image: String },
}

/// Parses the arguments and runs what they ask for.
pub fn run() -> Result<()> {
    match Cli::parse_from(component::command_line(std::env::args_os().collect())).command {
        Command::Up(args) => {
            let layout = Layout::new(&args.name.name)?;
            let wanted = Wanted {
                api_port: args.api_port,
                etcd_port: args.etcd_port,
                kubelet_port: args.kubelet_port,
            };
            let kubeconfig = args.kubeconfig.clone().unwrap_or_else(crate::kubeconfig::default_path);
            if args.foreground {
                crate::up::foreground(&layout, wanted, &kubeconfig, args.report)
            } else {
                crate::up::background(&layout, &args, &kubeconfig)
            }
        }
        Command::Down(args) => crate::down::run(&Layout::new(&args.name.name)?, args.purge),
        Command::Status(args) => crate::status::run(&Layout::new(&args.name.name)?, args.output),
        Command::Images(args) => images(&Layout::new(&args.name.name)?, args.command),
        Command::KubeApiserver(args) => component::run(Component::Apiserver(args)),
        Command::KubeScheduler(args) => component::run(Component::Scheduler(args)),
        Command::SystemdUnit(args) => {
            let program = std::env::current_exe().context(|| "find this program's path")?;
            print!("{}", crate::up::systemd_unit(&program, &Layout::new(&args.name)?.name));
            Ok(())
        }
        // `datastore` has taken it before; clap knows the command for the list that it prints.
        Command::Kvstore { args } => Err(Failure::new(format!(
            "`kvstore` has to be the first argument (before {args:?})"
        ))),
    }
}

fn images(layout: &Layout, command: ImagesCommand) -> Result<()> {
    crate::preflight::root()?;
    if crate::containerd::running(layout).is_none() {
        return Err(Failure::new(format!(
            "cluster {:?} is not up, so its containerd is not running: start it with `keelson up --name {}`",
            layout.name, layout.name
        )));
    }
    match command {
        ImagesCommand::Import { file } => {
            for name in crate::images::import(layout, &file)? {
                println!("imported {name}");
            }
        }
        ImagesCommand::List => {
            let rows = crate::images::list(layout)?;
            let width = rows.iter().map(|(n, _)| n.len()).max().unwrap_or(0).max("IMAGE".len());
            println!("{:width$}  SIZE", "IMAGE");
            for (name, size) in rows {
                println!("{name:width$}  {size}");
            }
        }
        ImagesCommand::Remove { image } => {
            crate::images::remove(layout, &image)?;
            println!("removed {image}");
        }
    }
    Ok(())
}
