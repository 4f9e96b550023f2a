//! Kubeconfig files and TLS settings for [`crate::transport::Transport`] over the network.
