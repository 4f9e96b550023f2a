//! A command in the container: exit code 0 is success.
use super::{Outcome, clipped};
use crate::Error;
use crate::cri::Cri;
use std::time::Duration;

pub async fn run(cri: &Cri, container_id: &str, command: Vec<String>, timeout: Duration) -> Outcome {
    match cri.exec_sync(container_id, command.clone(), timeout).await {
        Ok(answer) if answer.exit_code == 0 => Outcome::Success,
        Ok(answer) => {
            let mut output = answer.stdout.to_vec();
            output.extend_from_slice(&answer.stderr);
            Outcome::Failure(clipped(&output))
        }
        Err(Error::Cri(s)) if s.code() == tonic::Code::DeadlineExceeded => Outcome::Failure(format!(
            "command timed out: {:?} timed out after {}s",
            command.join(" "),
            timeout.as_secs()
        )),
        Err(e) => Outcome::Error(e.to_string()),
    }
}
