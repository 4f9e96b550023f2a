//! keelson-kubelet
