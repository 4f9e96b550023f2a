use super::RuntimeHealth;
use super::labels;
use super::view::{ContainerView, PodView, SandboxView};
use crate::{Error, Result};
use hyper_util::rt::TokioIo;
use keelson_proto::cri as pb;
use pb::image_service_client::ImageServiceClient;
use pb::runtime_service_client::RuntimeServiceClient;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint, Uri};

/// As upstream's CRI client.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// A call that does no waiting of its own.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// A sandbox waits for CNI.
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(240);
/// An image pull that makes no end; containerd itself gives up on one without progress.
const PULL_TIMEOUT: Duration = Duration::from_secs(3600);

/// A cheap handle on the runtime. The connection is made at the first call and again after a loss.
#[derive(Clone)]
pub struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    channel: Channel,
}

fn request<T>(message: T, timeout: Duration) -> tonic::Request<T> {
    let mut r = tonic::Request::new(message);
    r.set_timeout(timeout);
    r
}

/// The same timeout on this side, for a runtime that hangs without honouring the header.
async fn bounded<T>(
    timeout: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T> {
    match tokio::time::timeout(timeout, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(Error::from(tonic::Status::deadline_exceeded(
            "the container runtime did not answer in time",
        ))),
    }
}

macro_rules! call {
    ($client:expr, $method:ident, $timeout:expr, $message:expr) => {{
        let mut client = $client.clone();
        bounded($timeout, client.$method(request($message, $timeout))).await
    }};
}

impl Cri {
    /// `endpoint` is a path, with or without `unix://`.
    pub fn new(endpoint: &str) -> Result<Self> {
        let path = PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint));
        if !path.is_absolute() {
            return Err(Error::Config(format!(
                "container runtime endpoint {endpoint:?} is not the absolute path of a unix socket"
            )));
        }
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::UnixStream::connect(path).await?)) }
        });
        // The authority is never resolved: the connector knows the way.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Ok(Cri {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            images: ImageServiceClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            channel,
        })
    }

    /// For services beside CRI on the same socket.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub async fn version(&self) -> Result<pb::VersionResponse> {
        let m = pb::VersionRequest { version: "v1".into() };
        call!(self.runtime, version, CALL_TIMEOUT, m)
    }
    pub async fn health(&self) -> Result<RuntimeHealth> {
        let m = pb::StatusRequest { verbose: false };
        let answer: pb::StatusResponse = call!(self.runtime, status, CALL_TIMEOUT, m)?;
        Ok(RuntimeHealth::from_conditions(
            &answer.status.unwrap_or_default().conditions,
        ))
    }
    pub async fn run_sandbox(&self, config: pb::PodSandboxConfig, runtime_handler: &str) -> Result<String> {
        let m = pb::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: runtime_handler.to_owned(),
        };
        let answer: pb::RunPodSandboxResponse = call!(self.runtime, run_pod_sandbox, SANDBOX_TIMEOUT, m)?;
        Ok(answer.pod_sandbox_id)
    }
    pub async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let m = pb::StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        call!(self.runtime, stop_pod_sandbox, SANDBOX_TIMEOUT, m).map(|_| ())
    }
    pub async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let m = pb::RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        call!(self.runtime, remove_pod_sandbox, SANDBOX_TIMEOUT, m).map(|_| ())
    }
    pub async fn sandbox_status(&self, id: &str) -> Result<pb::PodSandboxStatus> {
        let m = pb::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: false,
        };
        let answer: pb::PodSandboxStatusResponse = call!(self.runtime, pod_sandbox_status, CALL_TIMEOUT, m)?;
        answer
            .status
            .ok_or_else(|| tonic::Status::not_found("sandbox without a status").into())
    }
    /// All sandboxes, or those of one pod.
    pub async fn list_sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<pb::PodSandbox>> {
        let m = pb::ListPodSandboxRequest {
            filter: pod_uid.map(|uid| pb::PodSandboxFilter {
                label_selector: uid_selector(uid),
                ..Default::default()
            }),
        };
        let answer: pb::ListPodSandboxResponse = call!(self.runtime, list_pod_sandbox, CALL_TIMEOUT, m)?;
        Ok(answer.items)
    }

    pub async fn create_container(
        &self,
        sandbox_id: &str,
        config: pb::ContainerConfig,
        sandbox: pb::PodSandboxConfig,
    ) -> Result<String> {
        let m = pb::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox),
        };
        let answer: pb::CreateContainerResponse = call!(self.runtime, create_container, CALL_TIMEOUT, m)?;
        Ok(answer.container_id)
    }
    pub async fn start_container(&self, id: &str) -> Result<()> {
        let m = pb::StartContainerRequest {
            container_id: id.to_owned(),
        };
        call!(self.runtime, start_container, CALL_TIMEOUT, m).map(|_| ())
    }
    /// Sends the stop signal, waits `grace`, then kills.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let m = pb::StopContainerRequest {
            container_id: id.to_owned(),
            timeout: i64::try_from(grace.as_secs()).unwrap_or(i64::MAX),
        };
        let bound = grace.saturating_add(CALL_TIMEOUT);
        call!(self.runtime, stop_container, bound, m).map(|_| ())
    }
    pub async fn remove_container(&self, id: &str) -> Result<()> {
        let m = pb::RemoveContainerRequest {
            container_id: id.to_owned(),
        };
        call!(self.runtime, remove_container, CALL_TIMEOUT, m).map(|_| ())
    }
    pub async fn container_status(&self, id: &str) -> Result<pb::ContainerStatus> {
        let m = pb::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        let answer: pb::ContainerStatusResponse = call!(self.runtime, container_status, CALL_TIMEOUT, m)?;
        answer
            .status
            .ok_or_else(|| tonic::Status::not_found("container without a status").into())
    }
    /// All containers, or those of one pod.
    pub async fn list_containers(&self, pod_uid: Option<&str>) -> Result<Vec<pb::Container>> {
        let m = pb::ListContainersRequest {
            filter: pod_uid.map(|uid| pb::ContainerFilter {
                label_selector: uid_selector(uid),
                ..Default::default()
            }),
        };
        let answer: pb::ListContainersResponse = call!(self.runtime, list_containers, CALL_TIMEOUT, m)?;
        Ok(answer.containers)
    }
    pub async fn reopen_log(&self, id: &str) -> Result<()> {
        let m = pb::ReopenContainerLogRequest {
            container_id: id.to_owned(),
        };
        call!(self.runtime, reopen_container_log, CALL_TIMEOUT, m).map(|_| ())
    }
    pub async fn container_stats(&self) -> Result<Vec<pb::ContainerStats>> {
        let m = pb::ListContainerStatsRequest { filter: None };
        let answer: pb::ListContainerStatsResponse = call!(self.runtime, list_container_stats, CALL_TIMEOUT, m)?;
        Ok(answer.stats)
    }

    /// Runs a command to its end. A command over `timeout` is killed, and the error says DeadlineExceeded.
    pub async fn exec_sync(&self, id: &str, command: Vec<String>, timeout: Duration) -> Result<pb::ExecSyncResponse> {
        let m = pb::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command,
            timeout: i64::try_from(timeout.as_secs().max(1)).unwrap_or(i64::MAX),
        };
        // The runtime's own timer answers first; ours is for one that does not.
        let bound = timeout.saturating_add(Duration::from_secs(10));
        call!(self.runtime, exec_sync, bound, m)
    }
    pub async fn exec(&self, m: pb::ExecRequest) -> Result<String> {
        let answer: pb::ExecResponse = call!(self.runtime, exec, CALL_TIMEOUT, m)?;
        Ok(answer.url)
    }
    pub async fn attach(&self, m: pb::AttachRequest) -> Result<String> {
        let answer: pb::AttachResponse = call!(self.runtime, attach, CALL_TIMEOUT, m)?;
        Ok(answer.url)
    }
    pub async fn port_forward(&self, sandbox_id: &str, ports: Vec<i32>) -> Result<String> {
        let m = pb::PortForwardRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            port: ports,
        };
        let answer: pb::PortForwardResponse = call!(self.runtime, port_forward, CALL_TIMEOUT, m)?;
        Ok(answer.url)
    }

    pub async fn list_images(&self) -> Result<Vec<pb::Image>> {
        let m = pb::ListImagesRequest { filter: None };
        let answer: pb::ListImagesResponse = call!(self.images, list_images, CALL_TIMEOUT, m)?;
        Ok(answer.images)
    }
    /// `None` when the image is not here.
    pub async fn image_status(&self, image: &str) -> Result<Option<pb::Image>> {
        let m = pb::ImageStatusRequest {
            image: Some(image_spec(image)),
            verbose: false,
        };
        let answer: pb::ImageStatusResponse = call!(self.images, image_status, CALL_TIMEOUT, m)?;
        Ok(answer.image)
    }
    pub async fn pull_image(
        &self,
        image: &str,
        auth: Option<pb::AuthConfig>,
        sandbox: Option<pb::PodSandboxConfig>,
    ) -> Result<String> {
        let m = pb::PullImageRequest {
            image: Some(image_spec(image)),
            auth,
            sandbox_config: sandbox,
        };
        let answer: pb::PullImageResponse = call!(self.images, pull_image, PULL_TIMEOUT, m)?;
        Ok(answer.image_ref)
    }
    pub async fn remove_image(&self, image: &str) -> Result<()> {
        let m = pb::RemoveImageRequest {
            image: Some(image_spec(image)),
        };
        call!(self.images, remove_image, CALL_TIMEOUT, m).map(|_| ())
    }
    pub async fn image_fs(&self) -> Result<Vec<pb::FilesystemUsage>> {
        let m = pb::ImageFsInfoRequest {};
        let answer: pb::ImageFsInfoResponse = call!(self.images, image_fs_info, CALL_TIMEOUT, m)?;
        Ok(answer.image_filesystems)
    }

    /// The runtime's stream of container events; Unimplemented before containerd 1.7.
    pub(super) async fn container_events(&self) -> Result<tonic::Streaming<pb::ContainerEventResponse>> {
        let mut client = self.runtime.clone();
        Ok(client.get_container_events(pb::GetEventsRequest {}).await?.into_inner())
    }

    /// Everything the runtime knows of one pod, newest first.
    pub async fn pod_view(&self, uid: &str) -> Result<PodView> {
        let (sandboxes, containers) =
            tokio::try_join!(self.list_sandboxes(Some(uid)), self.list_containers(Some(uid)))?;
        let sandboxes = futures::future::try_join_all(sandboxes.iter().map(|s| self.sandbox_status(&s.id)));
        let containers = futures::future::try_join_all(containers.iter().map(|c| async {
            match self.container_status(&c.id).await {
                Ok(s) => Ok(Some(ContainerView::new(s, &c.pod_sandbox_id))),
                // Removed since the list was made.
                Err(e) if e.is_cri_not_found() => Ok(None),
                Err(e) => Err(e),
            }
        }));
        let (sandboxes, containers) = tokio::try_join!(sandboxes, containers)?;
        Ok(PodView::new(
            sandboxes.into_iter().map(SandboxView::from).collect(),
            containers.into_iter().flatten().collect(),
        ))
    }
}

fn uid_selector(uid: &str) -> HashMap<String, String> {
    HashMap::from([(labels::POD_UID.to_owned(), uid.to_owned())])
}

fn image_spec(image: &str) -> pb::ImageSpec {
    pb::ImageSpec {
        image: image.to_owned(),
        ..Default::default()
    }
}
