package main

import (
	"context"
	"fmt"
	"sort"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/ordering"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func packagesPart(w *world) {
	w.bounded(func(ctx context.Context) { namespaces(ctx, w) })
	w.bounded(func(ctx context.Context) { orderings(ctx, w) })
	w.bounded(func(ctx context.Context) { leasings(ctx, w) })
	w.bounded(func(ctx context.Context) { mirrors(ctx, w) })
	w.bounded(func(ctx context.Context) { names(ctx, w) })
	w.bounded(func(ctx context.Context) { likeKubernetes(ctx, w) })
}

func namespaces(ctx context.Context, w *world) {
	kv := namespace.NewKV(w.client.KV, "ns/")
	_, err := kv.Put(ctx, "a", "1")
	w.tell("namespace put", true, err)
	r, err := kv.Get(ctx, "", clientv3.WithFromKey())
	w.tell("namespace get", (*pb.RangeResponse)(r), err)
	r, err = w.client.Get(ctx, "ns/", clientv3.WithPrefix())
	w.tell("get without", (*pb.RangeResponse)(r), err)
	t, err := kv.Txn(ctx).If(clientv3.Compare(clientv3.Value("a"), "=", "1")).Then(clientv3.OpPut("b", "2"), clientv3.OpGet("a")).Commit()
	w.tell("namespace txn", (*pb.TxnResponse)(t), err)
	watcher := namespace.NewWatcher(w.client.Watcher, "ns/")
	for r := range watcher.Watch(ctx, "b", clientv3.WithRev(t.Header.Revision)) {
		w.tell("namespace watch", (*mvccpb.Event)(r.Events[0]), r.Err())
		break
	}
	d, err := kv.Delete(ctx, "", clientv3.WithFromKey(), clientv3.WithPrevKV())
	w.tell("namespace delete", (*pb.DeleteRangeResponse)(d), err)
}

func orderings(ctx context.Context, w *world) {
	violated := 0
	kv := ordering.NewKV(w.client.KV, func(clientv3.Op, clientv3.OpResponse, int64) error { violated++; return nil })
	for n := range 20 {
		w.put("ordered", fmt.Sprint(n))
		if _, err := kv.Get(ctx, "ordered", clientv3.WithSerializable()); err != nil {
			w.tell("ordered read", nil, err)
		}
		if _, err := kv.Get(ctx, "ordered"); err != nil {
			w.tell("ordered read", nil, err)
		}
	}
	w.tell("reads that went back", violated, nil)
}

func leasings(ctx context.Context, w *world) {
	one, closeOne, err := leasing.NewKV(w.client, "leasing/")
	if err != nil {
		fail("leasing", err)
	}
	defer closeOne()
	two, closeTwo, err := leasing.NewKV(w.client, "leasing/")
	if err != nil {
		fail("leasing", err)
	}
	defer closeTwo()
	value := func(step string, kv clientv3.KV) {
		r, err := kv.Get(ctx, "cached")
		if err != nil {
			w.tell(step, nil, err)
			return
		}
		w.tell(step, string(r.Kvs[0].Value), nil)
	}
	w.put("cached", "1")
	value("leasing: first read", one)
	value("leasing: from the cache", one)
	_, err = two.Put(ctx, "cached", "2")
	w.tell("leasing: the other writes", true, err)
	value("leasing: read after it", one)
	value("leasing: the other reads", two)
	t, err := one.Txn(ctx).If(clientv3.Compare(clientv3.Value("cached"), "=", "2")).Then(clientv3.OpPut("cached", "3")).Commit()
	w.tell("leasing: txn", t.Succeeded, err)
	value("leasing: the other reads again", two)
	_, err = one.Delete(ctx, "cached")
	w.tell("leasing: delete", true, err)
	r, err := two.Get(ctx, "cached")
	w.tell("leasing: gone", len(r.Kvs), err)
}

func mirrors(ctx context.Context, w *world) {
	for n := range 5 {
		w.put(fmt.Sprintf("mir/%d", n), "x")
	}
	s := mirror.NewSyncer(w.client, "mir/", 0)
	base, errs := s.SyncBase(ctx)
	count := 0
	for r := range base {
		count += len(r.Kvs)
	}
	w.tell("mirror base", count, <-errs)
	updates := s.SyncUpdates(ctx)
	w.put("mir/new", "y")
	r := <-updates
	w.tell("mirror update", string(r.Events[0].Kv.Key), r.Err())
}

func names(ctx context.Context, w *world) {
	m, err := endpoints.NewManager(w.client, "services/web")
	if err != nil {
		fail("naming", err)
	}
	changes, err := m.NewWatchChannel(ctx)
	if err != nil {
		fail("naming watch", err)
	}
	w.tell("naming: nothing yet", len(<-changes), nil)
	w.tell("naming: add", true, m.AddEndpoint(ctx, "services/web/1", endpoints.Endpoint{Addr: "10.0.0.1:80"}))
	for _, u := range <-changes {
		w.tell("naming: told", u.Endpoint.Addr, nil)
	}
	w.tell("naming: two at once", true, m.Update(ctx, []*endpoints.UpdateWithOpts{
		endpoints.NewAddUpdateOpts("services/web/2", endpoints.Endpoint{Addr: "10.0.0.2:80"}),
		endpoints.NewDeleteUpdateOpts("services/web/1"),
	}))
	var told []string
	for _, u := range <-changes {
		told = append(told, fmt.Sprint(u.Op, u.Key))
	}
	sort.Strings(told)
	w.tell("naming: told both", told, nil)
	all, err := m.List(ctx)
	w.tell("naming: list", all, err)
	w.tell("naming: outside of the target", true, m.AddEndpoint(ctx, "elsewhere/1", endpoints.Endpoint{Addr: "x"}))
	w.tell("naming: delete", true, m.DeleteEndpoint(ctx, "services/web/2"))
}

func likeKubernetes(ctx context.Context, w *world) {
	k := kubernetes.Client{Client: w.client}
	k.Kubernetes = k
	put, err := k.Kubernetes.OptimisticPut(ctx, "/registry/a", b("1"), 0, kubernetes.PutOptions{})
	w.tell("kubernetes: create", put, err)
	again, err := k.Kubernetes.OptimisticPut(ctx, "/registry/a", b("2"), 0, kubernetes.PutOptions{GetOnFailure: true})
	w.tell("kubernetes: create again", again, err)
	more, err := k.Kubernetes.OptimisticPut(ctx, "/registry/a", b("3"), put.Revision, kubernetes.PutOptions{})
	w.tell("kubernetes: update", more, err)
	one, err := k.Kubernetes.Get(ctx, "/registry/a", kubernetes.GetOptions{})
	w.tell("kubernetes: get", one, err)
	for n := range 5 {
		w.put(fmt.Sprintf("/registry/pods/%d", n), "x")
	}
	list, err := k.Kubernetes.List(ctx, "/registry/pods/", kubernetes.ListOptions{Limit: 2})
	w.tell("kubernetes: list", list, err)
	list, err = k.Kubernetes.List(ctx, "/registry/pods/", kubernetes.ListOptions{Limit: 2, Revision: list.Revision, Continue: string(list.Kvs[1].Key) + "\x00"})
	w.tell("kubernetes: list on", list, err)
	count, err := k.Kubernetes.Count(ctx, "/registry/pods/", kubernetes.CountOptions{})
	w.tell("kubernetes: count", count, err)
	gone, err := k.Kubernetes.OptimisticDelete(ctx, "/registry/a", 1, kubernetes.DeleteOptions{GetOnFailure: true})
	w.tell("kubernetes: delete an old one", gone, err)
	gone, err = k.Kubernetes.OptimisticDelete(ctx, "/registry/a", more.Revision, kubernetes.DeleteOptions{})
	w.tell("kubernetes: delete", gone, err)
}
