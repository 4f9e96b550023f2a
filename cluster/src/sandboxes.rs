//! Removal of every pod sandbox over CRI, so that the runtime takes its network namespaces, links and
//! addresses back itself.

use crate::fail::{Context, Result};
use crate::layout::Layout;
use hyper_util::rt::TokioIo;
use keelson_proto::cri::runtime_service_client::RuntimeServiceClient;
use keelson_proto::cri::{
    ListContainersRequest, ListPodSandboxRequest, RemovePodSandboxRequest, StopContainerRequest, StopPodSandboxRequest,
};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint, Uri};

/// Seconds that containers have to end by themselves when the cluster is taken down.
const STOP_GRACE_SECONDS: i64 = 2;
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

async fn connect(layout: &Layout) -> Result<RuntimeServiceClient<Channel>> {
    let path = layout.containerd_socket();
    let endpoint = Endpoint::from_static("http://containerd").timeout(CALL_TIMEOUT);
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .context(|| "connect to containerd")?;
    Ok(RuntimeServiceClient::new(channel))
}

/// Stops and removes all pods of the cluster's containerd.
pub fn remove_all(layout: &Layout) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context(|| "start a runtime")?;
    runtime.block_on(async {
        let client = connect(layout).await?;
        let containers = client
            .clone()
            .list_containers(ListContainersRequest { filter: None })
            .await;
        let containers = containers.context(|| "list containers")?.into_inner().containers;
        let stops = containers.into_iter().map(|c| {
            let mut client = client.clone();
            async move {
                let request = StopContainerRequest {
                    container_id: c.id.clone(),
                    timeout: STOP_GRACE_SECONDS,
                };
                if let Err(e) = client.stop_container(request).await {
                    tracing::warn!(container = %c.id, error = %e, "stop container");
                }
            }
        });
        futures::future::join_all(stops).await;
        let list = client
            .clone()
            .list_pod_sandbox(ListPodSandboxRequest { filter: None })
            .await;
        let sandboxes = list.context(|| "list pod sandboxes")?.into_inner().items;
        let removals = sandboxes.into_iter().map(|s| {
            let mut client = client.clone();
            async move {
                let stop = StopPodSandboxRequest {
                    pod_sandbox_id: s.id.clone(),
                };
                client
                    .stop_pod_sandbox(stop)
                    .await
                    .context(|| format!("stop pod sandbox {}", s.id))?;
                let remove = RemovePodSandboxRequest {
                    pod_sandbox_id: s.id.clone(),
                };
                client
                    .remove_pod_sandbox(remove)
                    .await
                    .context(|| format!("remove pod sandbox {}", s.id))?;
                Ok(())
            }
        });
        futures::future::join_all(removals).await.into_iter().collect()
    })
}
