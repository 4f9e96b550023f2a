//! The standard gRPC health check: SERVING is success.
use super::Outcome;
use keelson_proto::health::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use std::time::Duration;
use tonic::transport::Endpoint;

pub async fn run(host: &str, port: u16, service: &str, timeout: Duration) -> Outcome {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let address = format!("{host}:{port}");
    match tokio::time::timeout(timeout, check(&address, service)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Failure(format!(
            "timeout: health rpc to {address:?} did not complete within {}s",
            timeout.as_secs()
        )),
    }
}

async fn check(address: &str, service: &str) -> Outcome {
    let endpoint = match Endpoint::from_shared(format!("http://{address}")) {
        Ok(e) => e,
        Err(e) => return Outcome::Error(e.to_string()),
    };
    let channel = match endpoint.connect().await {
        Ok(c) => c,
        Err(e) => return Outcome::Failure(format!("failed to connect to {address:?}: {e}")),
    };
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    match HealthClient::new(channel).check(request).await {
        Ok(answer) => match answer.into_inner().status {
            s if s == ServingStatus::Serving as i32 => Outcome::Success,
            s => {
                let name = ServingStatus::try_from(s).map_or("UNKNOWN", |s| s.as_str_name());
                Outcome::Failure(format!("service unhealthy (responded with {name:?})"))
            }
        },
        Err(e) => Outcome::Failure(format!("health rpc failed: {}", e.message())),
    }
}
