//go:build peers

// Package peers pins the real etcd that tests and benchmarks run beside Keelson's datastore.
package peers

import (
	_ "go.etcd.io/etcd/etcdctl/v3"
	_ "go.etcd.io/etcd/etcdutl/v3"
	_ "go.etcd.io/etcd/server/v3"
)
