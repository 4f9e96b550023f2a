//go:build peers

// Package peers pins etcd's own benchmark tool. It is part of etcd's main module, which is not published for each
// version; as a client any one of them will do.
package peers

import (
	_ "go.etcd.io/etcd/v3/tools/benchmark"
)
