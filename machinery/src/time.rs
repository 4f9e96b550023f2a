//! RFC 3339 as Kubernetes writes it: seconds for Time, microseconds for MicroTime, always UTC `Z`.
