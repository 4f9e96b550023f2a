//! `/metrics` and `/metrics/resource` in Prometheus' text format (upstream: pkg/kubelet/metrics).
use super::{State, answer, stats};
use http::Response;
use keelson_client::Body;
use std::fmt::Write;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One exposition.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.sample_at(name, labels, value, None);
    }
    /// `at_ms`: when it was measured, where that is not now.
    fn sample_at(&mut self, name: &str, labels: &[(&str, &str)], value: f64, at_ms: Option<i64>) {
        self.0.push_str(name);
        for (i, (key, v)) in labels.iter().enumerate() {
            let v = v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{key}=\"{v}\"", if i == 0 { '{' } else { ',' });
        }
        let at = at_ms
            .filter(|ms| *ms > 0)
            .map(|ms| format!(" {ms}"))
            .unwrap_or_default();
        let _ = writeln!(self.0, "{} {value}{at}", if labels.is_empty() { "" } else { "}" });
    }
    fn answer(self) -> Response<Body> {
        answer::typed(CONTENT_TYPE, self.0)
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// About the agent.
pub async fn own(state: &State) -> Response<Body> {
    let agent = &state.agent;
    let mut t = Text::default();
    t.family("kubelet_node_name", "gauge", "The node's name. The count is always 1.");
    t.sample("kubelet_node_name", &[("node", &agent.options.node_name)], 1.0);
    t.family(
        "kubelet_desired_pods",
        "gauge",
        "The number of pods the kubelet is being instructed to run.",
    );
    t.sample(
        "kubelet_desired_pods",
        &[("static", "")],
        state.pods.list().len() as f64,
    );
    let lists = tokio::try_join!(agent.cri.list_containers(None), agent.cri.list_sandboxes(None));
    if let Ok((containers, sandboxes)) = lists {
        let ready = sandboxes.iter().filter(|s| s.state == 0).count();
        t.family(
            "kubelet_running_pods",
            "gauge",
            "Number of pods that have a running pod sandbox",
        );
        t.sample("kubelet_running_pods", &[], ready as f64);
        let name = "kubelet_running_containers";
        t.family(name, "gauge", "Number of containers currently running");
        for (number, label) in [(0, "created"), (1, "running"), (2, "exited"), (3, "unknown")] {
            let count = containers.iter().filter(|c| c.state == number).count();
            t.sample(name, &[("container_state", label)], count as f64);
        }
    }
    let sessions = super::SESSIONS_MAX - state.sessions.available_permits().min(super::SESSIONS_MAX);
    let name = "keelson_kubelet_streams";
    t.family(name, "gauge", "Streams of exec, attach and port-forward that are open");
    t.sample(name, &[], sessions as f64);
    let name = "process_start_time_seconds";
    t.family(name, "gauge", "Start time of the process since unix epoch in seconds.");
    t.sample(name, &[], state.started_at.as_millisecond() as f64 / 1e3);
    t.answer()
}

/// What metrics-server reads.
pub async fn resource(state: &State) -> Response<Body> {
    let pods = stats::pods(&state.agent.cri).await;
    let failed = pods.is_err();
    let pods = pods.unwrap_or_else(|e| {
        tracing::warn!(error = %e, "ask for container stats");
        Vec::new()
    });
    let node = stats::node();
    let mut t = Text::default();
    let each = |t: &mut Text, name: &str, kind: &str, help: &str, of: &dyn Fn(&stats::ContainerUsage) -> f64| {
        t.family(name, kind, help);
        for p in &pods {
            for c in &p.containers {
                let labels = [
                    ("container", c.name.as_str()),
                    ("namespace", &p.namespace),
                    ("pod", &p.name),
                ];
                t.sample_at(name, &labels, of(c), Some(c.at_ms));
            }
        }
    };
    let memory = |c: &stats::ContainerUsage| stats::value(&c.memory.working_set_bytes).unwrap_or(0) as f64;
    let name = "container_cpu_usage_seconds_total";
    let help = "Cumulative cpu time consumed by the container in core-seconds";
    each(&mut t, name, "counter", help, &|c| seconds(c.cpu_nanos));
    let help = "Current working set of the container in bytes";
    each(&mut t, "container_memory_working_set_bytes", "gauge", help, &memory);
    let help = "Start time of the container since unix epoch in seconds";
    let started = |c: &stats::ContainerUsage| c.started_at as f64 / 1e9;
    each(&mut t, "container_start_time_seconds", "gauge", help, &started);
    let name = "node_cpu_usage_seconds_total";
    t.family(
        name,
        "counter",
        "Cumulative cpu time consumed by the node in core-seconds",
    );
    t.sample(name, &[], seconds(node.cpu_nanos));
    let name = "node_memory_working_set_bytes";
    t.family(name, "gauge", "Current working set of the node in bytes");
    t.sample(name, &[], node.working_set_bytes as f64);
    let name = "pod_cpu_usage_seconds_total";
    t.family(
        name,
        "counter",
        "Cumulative cpu time consumed by the pod in core-seconds",
    );
    for p in &pods {
        let labels = [("namespace", p.namespace.as_str()), ("pod", &p.name)];
        t.sample_at(name, &labels, seconds(p.cpu_nanos()), p.at_ms());
    }
    let name = "pod_memory_working_set_bytes";
    t.family(name, "gauge", "Current working set of the pod in bytes");
    for p in &pods {
        let labels = [("namespace", p.namespace.as_str()), ("pod", &p.name)];
        t.sample_at(name, &labels, p.working_set_bytes() as f64, p.at_ms());
    }
    let name = "resource_scrape_error";
    t.family(
        name,
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
    );
    t.sample(name, &[], if failed { 1.0 } else { 0.0 });
    t.answer()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposition() {
        let mut t = Text::default();
        t.family("a", "gauge", "An a.");
        t.sample("a", &[], 1.0);
        t.sample_at("a", &[("x", "q\"\n"), ("y", "z")], 0.5, Some(7));
        let wanted = "# HELP a An a.\n# TYPE a gauge\na 1\na{x=\"q\\\"\\n\",y=\"z\"} 0.5 7\n";
        assert_eq!(t.0, wanted);
    }
}
