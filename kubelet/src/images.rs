//! Images: pull policies with their backoff, and garbage collection (upstream: pkg/kubelet/images).
use crate::agent::Agent;
use crate::cri::Cri;
use crate::pod::PodExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use keelson_proto::cri as pb;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Pulls under way at once.
const PULLS_MAX: usize = 5;
const BACKOFF_FIRST: Duration = Duration::from_secs(10);
const TELL_BACKOFF_AFTER: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// Images in backoff that are remembered.
const BACKOFF_IMAGES_MAX: usize = 1024;

/// Why a container has no image, as its status tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullFailure {
    pub reason: &'static str,
    pub message: String,
    pub retry_after: Duration,
}

/// An image that is here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    pub image_ref: String,
    pub uid: Option<i64>,
    pub user: String,
}

struct Backoff {
    delay: Duration,
    since: Instant,
    /// What the last pull said.
    error: String,
}

pub struct Images {
    pulls: Semaphore,
    backoff: Mutex<HashMap<String, Backoff>>,
    /// When each unused image was first seen, for the least age of collection.
    first_seen: Mutex<HashMap<String, Instant>>,
}

impl Default for Images {
    fn default() -> Self {
        Images {
            pulls: Semaphore::new(PULLS_MAX),
            backoff: Mutex::default(),
            first_seen: Mutex::default(),
        }
    }
}

fn present(image: pb::Image) -> Present {
    Present {
        image_ref: image.id,
        // No user at all is root.
        uid: match (image.uid, image.username.is_empty()) {
            (Some(u), _) => Some(u.value),
            (None, true) => Some(0),
            (None, false) => None,
        },
        user: image.username,
    }
}

/// `Always` for `:latest` and untagged images, as the API server defaults it too.
fn policy(c: &Container) -> &str {
    if let Some(p) = c.image_pull_policy.as_deref().filter(|p| !p.is_empty()) {
        return p;
    }
    let image = c.image.as_deref().unwrap_or_default();
    let tail = image.rsplit('/').next().unwrap_or(image);
    match tail.split_once(':') {
        _ if image.contains('@') => "IfNotPresent",
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

impl Images {
    /// Makes sure that the container's image is here, by its policy.
    pub async fn ensure(
        &self,
        agent: &Agent,
        pod: &Pod,
        c: &Container,
        sandbox: &pb::PodSandboxConfig,
    ) -> Result<Present, PullFailure> {
        let image = c.image.as_deref().unwrap_or_default();
        let name = Some(c.name.as_str());
        let inspect = |e: crate::Error| PullFailure {
            reason: "ImageInspectError",
            message: format!("Failed to inspect image {image:?}: {e}"),
            retry_after: BACKOFF_FIRST,
        };
        if image.is_empty() {
            let message = "Failed to apply default image tag \"\": couldn't parse image name".to_owned();
            agent.warning(pod, name, "InspectFailed", message.clone());
            return Err(PullFailure {
                reason: "InvalidImageName",
                message,
                retry_after: BACKOFF_MAX,
            });
        }
        let policy = policy(c);
        let here = agent.cri.image_status(image).await.map_err(inspect)?;
        if let Some(found) = here.filter(|_| policy != "Always") {
            let message =
                format!("Container image {image:?} already present on machine and can be accessed by the pod");
            agent.normal(pod, name, "Pulled", message);
            return Ok(present(found));
        }
        if policy == "Never" {
            let message = format!("Container image {image:?} is not present with pull policy of Never");
            agent.warning(pod, name, "ErrImageNeverPull", message.clone());
            return Err(PullFailure {
                reason: "ErrImageNeverPull",
                message,
                retry_after: BACKOFF_FIRST,
            });
        }
        self.pull(agent, pod, c, image, sandbox).await?;
        match agent.cri.image_status(image).await.map_err(inspect)? {
            Some(found) => Ok(present(found)),
            None => Err(inspect(crate::Error::Config("the image is gone after its pull".into()))),
        }
    }

    async fn pull(
        &self,
        agent: &Agent,
        pod: &Pod,
        c: &Container,
        image: &str,
        sandbox: &pb::PodSandboxConfig,
    ) -> Result<(), PullFailure> {
        let name = Some(c.name.as_str());
        let key = format!("{}/{image}", pod.uid());
        if let Some((left, error)) = self.left(&key) {
            let message = format!("Back-off pulling image {image:?}");
            agent.normal(pod, name, "BackOff", message.clone());
            agent.warning(pod, name, "Failed", "Error: ImagePullBackOff");
            return Err(PullFailure {
                reason: "ImagePullBackOff",
                message: format!("{message}: ErrImagePull: {error}"),
                retry_after: left,
            });
        }
        agent.normal(pod, name, "Pulling", format!("Pulling image {image:?}"));
        let asked = Instant::now();
        let _turn = self.pulls.acquire().await;
        let started = Instant::now();
        let mut failure = None;
        for auth in crate::registry_auth::candidates(agent, pod, image).await {
            match agent.cri.pull_image(image, auth, Some(sandbox.clone())).await {
                Ok(_) => {
                    failure = None;
                    break;
                }
                Err(e) => failure = Some(e),
            }
        }
        match failure {
            None => {
                self.backoff.lock().remove(&key);
                let (took, waited) = (started.elapsed(), asked.elapsed());
                let message = format!(
                    "Successfully pulled image {image:?} in {}ms ({}ms including waiting)",
                    took.as_millis(),
                    waited.as_millis()
                );
                agent.normal(pod, name, "Pulled", message);
                Ok(())
            }
            Some(e) => {
                self.next(key, e.to_string());
                let message = format!("Failed to pull image {image:?}: {e}");
                agent.warning(pod, name, "Failed", message.clone());
                agent.warning(pod, name, "Failed", "Error: ErrImagePull");
                Err(PullFailure {
                    reason: "ErrImagePull",
                    message: e.to_string(),
                    // Then it is told as a back-off.
                    retry_after: TELL_BACKOFF_AFTER,
                })
            }
        }
    }

    fn left(&self, key: &str) -> Option<(Duration, String)> {
        let backoff = self.backoff.lock();
        let b = backoff.get(key)?;
        let left = b.delay.checked_sub(b.since.elapsed()).filter(|d| !d.is_zero())?;
        Some((left, b.error.clone()))
    }

    fn next(&self, key: String, error: String) {
        let mut backoff = self.backoff.lock();
        if backoff.len() >= BACKOFF_IMAGES_MAX {
            backoff.retain(|_, b| b.since.elapsed() < BACKOFF_MAX * 2);
        }
        let delay = backoff
            .get(&key)
            .map_or(BACKOFF_FIRST, |b| (b.delay * 2).min(BACKOFF_MAX));
        let since = Instant::now();
        backoff.insert(key, Backoff { delay, since, error });
    }

    /// Frees the image disk above its high threshold: unused images, the longest unused first; never the pause
    /// image, a pinned one, one younger than the least age, or one that was imported by hand: those have no digest
    /// of a registry, so nobody could pull them again.
    pub async fn collect(&self, agent: &Agent) -> crate::Result<()> {
        let gc = agent.options.image_gc;
        let Some(mount) = image_mount(&agent.cri).await else {
            return Ok(());
        };
        let Some(disk) = crate::node::machine::Disk::of(&mount) else {
            return Ok(());
        };
        let images = agent.cri.list_images().await?;
        let used = in_use(&agent.cri).await?;
        let candidates = self.unused(agent, images, &used);
        let used_percent = disk.used_percent();
        if used_percent < i64::from(gc.high_percent) {
            return Ok(());
        }
        let mut to_free = disk.usable / 100 * (used_percent - i64::from(gc.low_percent));
        tracing::info!(used_percent, bytes = to_free, "image disk is full: collecting images");
        for image in candidates {
            if to_free <= 0 {
                break;
            }
            match agent.cri.remove_image(&image.id).await {
                Ok(()) => to_free -= i64::try_from(image.size).unwrap_or(i64::MAX),
                Err(e) => tracing::warn!(image = image.id, error = %e, "remove image"),
            }
        }
        if to_free > 0 {
            let message = format!("Failed to garbage collect required amount of images: {to_free} bytes are missing");
            agent.node_event("Warning", "FreeDiskSpaceFailed", message);
        }
        Ok(())
    }

    fn unused(&self, agent: &Agent, images: Vec<pb::Image>, used: &HashSet<String>) -> Vec<pb::Image> {
        let pause = &agent.options.pause_image;
        let mut seen = self.first_seen.lock();
        let now = Instant::now();
        let mut out = Vec::new();
        let mut ids = HashSet::new();
        for image in images {
            let names = || image.repo_tags.iter().chain(&image.repo_digests).chain([&image.id]);
            if image.pinned || image.repo_digests.is_empty() || names().any(|n| used.contains(n) || n == pause) {
                continue;
            }
            ids.insert(image.id.clone());
            let since = *seen.entry(image.id.clone()).or_insert(now);
            if now.duration_since(since) >= agent.options.image_gc.age_min {
                out.push((since, image));
            }
        }
        seen.retain(|id, _| ids.contains(id));
        out.sort_by_key(|(since, _)| *since);
        out.into_iter().map(|(_, i)| i).collect()
    }
}

async fn image_mount(cri: &Cri) -> Option<std::path::PathBuf> {
    let fs = cri.image_fs().await.ok()?;
    let id = fs.into_iter().next()?.fs_id?;
    Some(id.mountpoint.into())
}

async fn in_use(cri: &Cri) -> crate::Result<HashSet<String>> {
    let containers = cri.list_containers(None).await?;
    let names = containers
        .into_iter()
        .flat_map(|c| [c.image_ref, c.image_id, c.image.unwrap_or_default().image]);
    Ok(names.filter(|n| !n.is_empty()).collect())
}

/// When the next look at the disk is due.
pub const COLLECT_EVERY: Duration = Duration::from_secs(300);

/// The images that the Node's status lists, largest first (upstream: at most 50, and 5 names each).
pub async fn for_node_status(cri: &Cri) -> Vec<k8s_openapi::api::core::v1::ContainerImage> {
    const IMAGES_MAX: usize = 50;
    const NAMES_MAX: usize = 5;
    let mut images = cri.list_images().await.unwrap_or_default();
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    images
        .into_iter()
        .map(|i| k8s_openapi::api::core::v1::ContainerImage {
            names: Some(i.repo_digests.into_iter().chain(i.repo_tags).take(NAMES_MAX).collect()),
            size_bytes: i64::try_from(i.size).ok(),
        })
        .filter(|i| i.names.as_ref().is_some_and(|n| !n.is_empty()))
        .take(IMAGES_MAX)
        .collect()
}

/// So that a status's times sort with those of the runtime.
pub fn now_nanos() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        let c = |image: &str| Container {
            image: Some(image.into()),
            ..Default::default()
        };
        for (image, want) in [
            ("busybox", "Always"),
            ("busybox:latest", "Always"),
            ("busybox:1.36", "IfNotPresent"),
            ("localhost:5000/x", "Always"),
            ("x@sha256:ab", "IfNotPresent"),
        ] {
            assert_eq!(policy(&c(image)), want, "{image}");
        }
    }
}
