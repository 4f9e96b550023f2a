//! Security contexts for the runtime (upstream: pkg/kubelet/kuberuntime/security_context.go, pkg/securitycontext).
use super::PodExt;
use k8s_openapi::api::core::v1::{AppArmorProfile, Container, Pod, SeccompProfile, SecurityContext};
use keelson_proto::cri as pb;
use std::path::Path;

const MASKED_PATHS: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub fn namespaces(pod: &Pod) -> pb::NamespaceOption {
    let spec = pod.spec();
    let node_or = |host: Option<bool>, other: pb::NamespaceMode| match host {
        Some(true) => pb::NamespaceMode::Node as i32,
        _ => other as i32,
    };
    let pid = match spec.share_process_namespace {
        Some(true) => pb::NamespaceMode::Pod,
        _ => pb::NamespaceMode::Container,
    };
    pb::NamespaceOption {
        network: node_or(spec.host_network, pb::NamespaceMode::Pod),
        pid: node_or(spec.host_pid, pid),
        ipc: node_or(spec.host_ipc, pb::NamespaceMode::Pod),
        ..Default::default()
    }
}

/// Localhost profiles are files below `<root_dir>/seccomp`.
fn seccomp(profile: Option<&SeccompProfile>, root_dir: &Path) -> pb::SecurityProfile {
    use pb::security_profile::ProfileType;
    let (kind, localhost_ref) = match profile.map(|p| (p.type_.as_str(), p)) {
        Some(("RuntimeDefault", _)) => (ProfileType::RuntimeDefault, String::new()),
        Some(("Localhost", p)) => {
            let name = p.localhost_profile.as_deref().unwrap_or_default();
            let path = root_dir.join("seccomp").join(name);
            (ProfileType::Localhost, path.to_string_lossy().into_owned())
        }
        _ => (ProfileType::Unconfined, String::new()),
    };
    pb::SecurityProfile {
        profile_type: kind as i32,
        localhost_ref,
    }
}

fn apparmor(profile: Option<&AppArmorProfile>) -> Option<pb::SecurityProfile> {
    use pb::security_profile::ProfileType;
    let p = profile?;
    let kind = match p.type_.as_str() {
        "RuntimeDefault" => ProfileType::RuntimeDefault,
        "Localhost" => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    Some(pb::SecurityProfile {
        profile_type: kind as i32,
        localhost_ref: p.localhost_profile.clone().unwrap_or_default(),
    })
}

fn number(value: Option<i64>) -> Option<pb::Int64Value> {
    value.map(|value| pb::Int64Value { value })
}

fn supplemental_groups(pod: &Pod) -> Vec<i64> {
    let Some(sc) = &pod.spec().security_context else {
        return Vec::new();
    };
    let mut groups: Vec<i64> = sc.fs_group.into_iter().collect();
    groups.extend(sc.supplemental_groups.iter().flatten());
    groups
}

fn is_privileged(c: &Container) -> bool {
    c.security_context.as_ref().and_then(|s| s.privileged) == Some(true)
}

pub fn sandbox(pod: &Pod, root_dir: &Path) -> pb::LinuxSandboxSecurityContext {
    let spec = pod.spec();
    let sc = spec.security_context.as_ref();
    let privileged = spec.containers.iter().chain(pod.init_containers()).any(is_privileged);
    pb::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        run_as_user: number(sc.and_then(|s| s.run_as_user)),
        run_as_group: number(sc.filter(|s| s.run_as_user.is_some()).and_then(|s| s.run_as_group)),
        readonly_rootfs: false,
        supplemental_groups: supplemental_groups(pod),
        privileged,
        // The pause process gets the runtime's profile, as upstream has it.
        seccomp: Some(pb::SecurityProfile {
            profile_type: match sc.and_then(|s| s.seccomp_profile.as_ref()) {
                Some(p) => seccomp(Some(p), root_dir).profile_type,
                None if privileged => pb::security_profile::ProfileType::Unconfined as i32,
                None => pb::security_profile::ProfileType::RuntimeDefault as i32,
            },
            localhost_ref: seccomp(sc.and_then(|s| s.seccomp_profile.as_ref()), root_dir).localhost_ref,
        }),
        ..Default::default()
    }
}

/// The user a container runs as, by its own context before the pod's.
pub fn effective_user(pod: &Pod, c: &Container) -> Option<i64> {
    let own = c.security_context.as_ref().and_then(|s| s.run_as_user);
    own.or_else(|| pod.spec().security_context.as_ref().and_then(|s| s.run_as_user))
}

/// Whether a container that must not run as root would. `image_uid` and `image_user` are the image's own.
pub fn check_non_root(pod: &Pod, c: &Container, image_uid: Option<i64>, image_user: &str) -> Result<(), String> {
    let own = c.security_context.as_ref().and_then(|s| s.run_as_non_root);
    let pods = pod.spec().security_context.as_ref().and_then(|s| s.run_as_non_root);
    if own.or(pods) != Some(true) {
        return Ok(());
    }
    let about = format!("(pod: \"{}\", container: {})", pod.full_name(), c.name);
    match (effective_user(pod, c), image_uid) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {about}")),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => Err(format!("container has runAsNonRoot and image will run as root {about}")),
        (None, Some(_)) => Ok(()),
        (None, None) if !image_user.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root {about}"
        )),
        (None, None) => Err(format!("container has runAsNonRoot and image will run as root {about}")),
    }
}

/// `image_user` names the image's user where it is no number.
pub fn container(
    pod: &Pod,
    c: &Container,
    image_uid: Option<i64>,
    image_user: &str,
    root_dir: &Path,
) -> pb::LinuxContainerSecurityContext {
    let empty = SecurityContext::default();
    let sc = c.security_context.as_ref().unwrap_or(&empty);
    let pod_sc = pod.spec().security_context.as_ref();
    let user = effective_user(pod, c);
    let privileged = sc.privileged == Some(true);
    let unmasked = privileged || sc.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| match unmasked {
        true => Vec::new(),
        false => list.iter().map(|s| (*s).to_owned()).collect(),
    };
    let capabilities = sc.capabilities.as_ref().map(|k| pb::Capability {
        add_capabilities: k.add.clone().unwrap_or_default(),
        drop_capabilities: k.drop.clone().unwrap_or_default(),
        add_ambient_capabilities: Vec::new(),
    });
    let seccomp_profile = sc
        .seccomp_profile
        .as_ref()
        .or(pod_sc.and_then(|s| s.seccomp_profile.as_ref()));
    let apparmor_profile = sc
        .app_armor_profile
        .as_ref()
        .or(pod_sc.and_then(|s| s.app_armor_profile.as_ref()));
    let group = sc.run_as_group.or(pod_sc.and_then(|s| s.run_as_group));
    pb::LinuxContainerSecurityContext {
        capabilities,
        privileged,
        namespace_options: Some(namespaces(pod)),
        run_as_user: number(user.or(image_uid)),
        run_as_username: match user.or(image_uid) {
            None => image_user.to_owned(),
            Some(_) => String::new(),
        },
        run_as_group: number(group),
        readonly_rootfs: sc.read_only_root_filesystem == Some(true),
        supplemental_groups: supplemental_groups(pod),
        supplemental_groups_policy: match pod_sc.and_then(|s| s.supplemental_groups_policy.as_deref()) {
            Some("Strict") => pb::SupplementalGroupsPolicy::Strict as i32,
            _ => pb::SupplementalGroupsPolicy::Merge as i32,
        },
        no_new_privs: sc.allow_privilege_escalation == Some(false),
        masked_paths: paths(MASKED_PATHS),
        readonly_paths: paths(READONLY_PATHS),
        seccomp: Some(match privileged {
            true => seccomp(None, root_dir),
            false => seccomp(seccomp_profile, root_dir),
        }),
        apparmor: apparmor(apparmor_profile),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn non_root() {
        let pod: Pod = serde_json::from_str(
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"n","uid":"u"},
                "spec":{"securityContext":{"runAsNonRoot":true},"containers":[{"name":"c"}]}}"#,
        )
        .unwrap();
        let c = &pod.spec().containers[0];
        assert!(check_non_root(&pod, c, Some(1000), "").is_ok());
        assert!(
            check_non_root(&pod, c, Some(0), "")
                .unwrap_err()
                .contains("will run as root")
        );
        assert!(
            check_non_root(&pod, c, None, "www")
                .unwrap_err()
                .contains("non-numeric user (www)")
        );
    }
}
