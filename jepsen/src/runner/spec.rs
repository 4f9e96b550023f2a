//! What a run is to be.

use crate::client::Timeouts;
use crate::history::Meta;
use crate::workload::{self, Settings, Workload};
use crate::world::kube::KubeSpec;
use crate::world::{Target, WorldError};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that a run is made from. With the same seed it has the same faults at the same times and the same chance
/// in each client; what happens still differs, since processes and networks are real.
#[derive(Clone, Debug)]
pub struct RunSpec {
    pub seed: u64,
    pub target: Target,
    /// Members, numbered from 1.
    pub nodes: usize,
    /// How long faults strike.
    pub time: Duration,
    /// Names of workloads, at least one.
    pub workloads: Vec<String>,
    /// The control plane, for workloads on API servers.
    pub kube: Option<KubeSpec>,
    /// Names of faults, or `random` or `none`.
    pub faults: Vec<String>,
    /// A bug that is planted in the target.
    pub bug: Option<String>,
    /// Operations a second of each workload, where it is not the workload's own.
    pub rate: Option<f64>,
    /// Clients of each workload, where it is not the workload's own.
    pub clients: Option<usize>,
    /// More flags of the members, `--name=value`.
    pub flags: Vec<String>,
    /// The folder of the run, which is made.
    pub folder: PathBuf,
    /// No progress on the terminal.
    pub quiet: bool,
}

/// A run could not be made or was not recorded: nothing can be said about the target.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    World(#[from] WorldError),
    #[error("{doing}: {source}")]
    Io { doing: String, source: io::Error },
    #[error("{0}")]
    Setup(String),
    #[error("interrupted")]
    Interrupted,
}

impl RunError {
    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> RunError {
        let doing = doing.into();
        move |source| RunError::Io { doing, source }
    }
}

impl RunSpec {
    /// The workloads by name; `all` are all of those on the datastore, `kube` all of those on API servers.
    ///
    /// # Errors
    /// [`RunError::Usage`] for a name that there is not.
    pub fn workloads(&self) -> Result<Vec<Box<dyn Workload>>, RunError> {
        let chosen = workload::chosen(&self.workloads).map_err(RunError::Usage)?;
        if self.kube.is_none()
            && let Some(first) = chosen.iter().find(|w| workload::kube::is_one(w.name()))
        {
            return Err(RunError::Usage(format!(
                "{} needs API servers: build keelson (cargo build -p keelson) and name it with --keelson or $KEELSON_BIN",
                first.name()
            )));
        }
        Ok(chosen)
    }

    /// The control plane, if any of the workloads needs it.
    pub(super) fn control_plane(&self, workloads: &[Box<dyn Workload>]) -> Option<KubeSpec> {
        let needed = workloads.iter().any(|w| workload::kube::is_one(w.name()));
        self.kube.clone().filter(|_| needed).map(|kube| KubeSpec {
            bug: self.bug.clone(),
            ..kube
        })
    }

    pub(super) fn settings(&self, workload: &dyn Workload) -> Settings {
        Settings {
            clients: self.clients.unwrap_or(workload.clients()),
            rate: self.rate.unwrap_or(workload.rate()),
            time: self.time,
        }
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        Timeouts::default()
    }

    /// What is written down of it before it begins.
    pub(super) fn meta(
        &self,
        workloads: &[Box<dyn Workload>],
        version: String,
        faults: Vec<String>,
        flags: &[String],
    ) -> Meta {
        let mut options: BTreeMap<String, Value> = BTreeMap::new();
        let of_each = |what: &dyn Fn(&dyn Workload) -> Value| -> Value {
            workloads
                .iter()
                .map(|w| (w.name().to_owned(), what(w.as_ref())))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        options.insert("rate".to_owned(), of_each(&|w| json!(self.settings(w).rate)));
        options.insert("clients".to_owned(), of_each(&|w| json!(self.settings(w).clients)));
        options.insert(
            "ops-min".to_owned(),
            of_each(&|w| json!(w.ops_min(self.time, self.settings(w).rate))),
        );
        options.insert("flags".to_owned(), json!(flags));
        options.insert("binary".to_owned(), json!(self.target.program()));
        if let Some(kube) = self.control_plane(workloads) {
            let schedulers = if kube.both { "both" } else { "elected" };
            options.insert("kube-schedulers".to_owned(), json!(schedulers));
            options.insert("kube-apiserver".to_owned(), json!(kube.apiserver));
            options.insert("kube-scheduler".to_owned(), json!(kube.scheduler));
        }
        Meta {
            seed: self.seed,
            target: self.target.name().to_owned(),
            version,
            nodes: self.nodes,
            time_s: self.time.as_secs(),
            workloads: workloads.iter().map(|w| w.name().to_owned()).collect(),
            faults,
            bug: self.bug.clone(),
            options,
            began: jiff::Timestamp::now().to_string(),
        }
    }
}
