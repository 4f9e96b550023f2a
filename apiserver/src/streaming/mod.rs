//! Long-lived requests that end at a kubelet or a pod: logs, exec, attach, port-forward, proxy.
