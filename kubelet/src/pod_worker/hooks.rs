//! postStart and preStop (upstream: pkg/kubelet/lifecycle).
use crate::agent::Agent;
use crate::pod::PodExt;
use crate::probes;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use std::time::Duration;

/// A hook without a bound of its own; preStop is bounded by the grace period.
const HOOK_MAX: Duration = Duration::from_secs(24 * 3600);

pub async fn run(
    agent: &Agent,
    pod: &Pod,
    c: &Container,
    container_id: &str,
    pod_ip: &str,
    hook: &LifecycleHandler,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        return match agent.cri.exec_sync(container_id, command.clone(), HOOK_MAX).await {
            Ok(r) if r.exit_code == 0 => Ok(()),
            Ok(r) => Err(format!(
                "command '{}' exited with {}: {}{}",
                command.join(" "),
                r.exit_code,
                probes::clipped(&r.stdout),
                probes::clipped(&r.stderr)
            )),
            Err(e) => Err(e.to_string()),
        };
    }
    if let Some(action) = &hook.http_get {
        let target = probes::http_target(c, action, pod_ip)?;
        return match probes::http_get(&target).await {
            Ok((code, _)) if code < 400 => Ok(()),
            Ok((code, body)) => Err(format!("HTTP hook of {} answered {code}: {body}", pod.full_name())),
            Err(e) => Err(e),
        };
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("invalid handler: no action".to_owned())
}
