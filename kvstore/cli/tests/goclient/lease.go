package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ttlSlack is how many seconds a time to live may have run down while the script went on.
const ttlSlack = 20

// timeToLive tells a lease with the time that is left rounded up to what was granted.
func (w *world) timeToLive(step string, id int64, keys bool) {
	w.bounded(func(ctx context.Context) {
		r, err := pb.NewLeaseClient(w.conn).LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: id, Keys: keys})
		if err == nil && r.TTL >= 0 && r.TTL <= r.GrantedTTL && r.TTL+ttlSlack >= r.GrantedTTL {
			r.TTL = r.GrantedTTL
		}
		if err == nil {
			slices.SortFunc(r.Keys, bytes.Compare)
		}
		w.tell(step, r, err)
	})
}

func (w *world) keepAlive(step string, ids ...int64) {
	w.bounded(func(ctx context.Context) {
		stream, err := pb.NewLeaseClient(w.conn).LeaseKeepAlive(ctx)
		if err != nil {
			w.tell(step, nil, err)
			return
		}
		for _, id := range ids {
			if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
				w.tell(fmt.Sprintf("%s %d", step, id), nil, err)
				return
			}
			r, err := stream.Recv()
			w.tell(fmt.Sprintf("%s %d", step, id), r, err)
		}
		if err := stream.CloseSend(); err != nil {
			fail(step, err)
		}
		_, err = stream.Recv()
		w.tell(step+": the end", nil, err)
	})
}

func leasePart(w *world) {
	l := pb.NewLeaseClient(w.conn)
	kv := pb.NewKVClient(w.conn)
	for _, q := range []*pb.LeaseGrantRequest{
		{ID: 11, TTL: 1000}, {ID: 11, TTL: 1000}, {ID: 12, TTL: 0}, {ID: 13, TTL: -9}, {ID: 14, TTL: 9_000_000_000},
		{ID: 15, TTL: 9_000_000_001}, {ID: -16, TTL: 500}, {ID: 17, TTL: 500}, {ID: 9223372036854775807, TTL: 500},
	} {
		call(w, fmt.Sprintf("grant %d for %d", q.ID, q.TTL), l.LeaseGrant, q)
	}
	w.bounded(func(ctx context.Context) {
		r, err := l.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 300})
		if err != nil {
			fail("grant without an id", err)
		}
		w.tell("a chosen id is positive", r.ID > 0, nil)
		_, err = l.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: r.ID})
		w.tell("revoke it", true, err)
	})
	for n, id := range []int64{11, -16, 99, 11, 0, 17} {
		call(w, fmt.Sprintf("attach %d to %d", n, id), kv.Put, &pb.PutRequest{Key: fmt.Appendf(nil, "l/%d", n), Value: b("x"), Lease: id})
	}
	for _, id := range []int64{11, -16, 17, 14, 99, 0} {
		w.timeToLive(fmt.Sprintf("time to live of %d", id), id, false)
		w.timeToLive(fmt.Sprintf("time to live and keys of %d", id), id, true)
	}
	w.keepAlive("keep alive", 11, 11, -16, 99, 0, 14)
	call(w, "attach elsewhere", kv.Put, &pb.PutRequest{Key: b("l/0"), Value: b("y"), Lease: 17})
	call(w, "detach", kv.Put, &pb.PutRequest{Key: b("l/5"), Value: b("y")})
	call(w, "keep what it has", kv.Put, &pb.PutRequest{Key: b("l/0"), Value: b("z"), IgnoreLease: true})
	call(w, "ignore_value detaches", kv.Put, &pb.PutRequest{Key: b("l/3"), IgnoreValue: true})
	call(w, "look", kv.Range, &pb.RangeRequest{Key: b("l/"), RangeEnd: b("l0")})
	w.timeToLive("keys of 11", 11, true)
	w.timeToLive("keys of 17", 17, true)
	call(w, "compare the lease", kv.Txn, &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: b("l/0"), Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{Lease: 17}}},
		Success: ops(get("l/0")),
	})
	w.bounded(func(ctx context.Context) {
		r, err := l.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
		if err != nil {
			fail("list leases", err)
		}
		held := map[int64]bool{}
		for _, one := range r.Leases {
			held[one.ID] = true
		}
		// 12 and 13 end after two seconds, before or after this.
		w.tell("list", []bool{held[11], held[14], held[-16], held[17], held[99]}, nil)
	})
	for _, id := range []int64{17, 17, 99, 0, -16} {
		call(w, fmt.Sprintf("revoke %d", id), l.LeaseRevoke, &pb.LeaseRevokeRequest{ID: id})
	}
	call(w, "look again", kv.Range, &pb.RangeRequest{Key: b("l/"), RangeEnd: b("l0")})
	expiry(w)
	clientLease(w)
	for _, id := range []int64{11, 14, 9223372036854775807} {
		call(w, fmt.Sprintf("give back %d", id), l.LeaseRevoke, &pb.LeaseRevokeRequest{ID: id})
	}
}

// expiry of a lease takes its keys in one revision, in the order of keys, and not before its time.
func expiry(w *world) {
	l := pb.NewLeaseClient(w.conn)
	kv := pb.NewKVClient(w.conn)
	s := w.watching()
	defer s.cancel()
	s.create(&pb.WatchCreateRequest{Key: b("x/"), RangeEnd: b("x0"), PrevKv: true})
	s.next("watch for the expiry")
	began := time.Now()
	call(w, "grant 2 s", l.LeaseGrant, &pb.LeaseGrantRequest{ID: 21, TTL: 2})
	call(w, "attach all", kv.Txn, then(
		&pb.PutRequest{Key: b("x/2"), Lease: 21}, &pb.PutRequest{Key: b("x/1"), Lease: 21}, &pb.PutRequest{Key: b("x/3"), Lease: 21}))
	s.next("attached")
	s.next("expired")
	took := time.Since(began)
	w.tell("not before its time, and soon after", took > 1900*time.Millisecond && took < 8*time.Second, nil)
	w.timeToLive("after the expiry", 21, true)
	w.keepAlive("keep alive after the expiry", 21)
}

func clientLease(w *world) {
	w.bounded(func(ctx context.Context) {
		g, err := w.client.Grant(ctx, 5)
		if err != nil {
			fail("the client's grant", err)
		}
		w.tell("the client's grant", g.TTL, nil)
		alive, err := w.client.KeepAlive(ctx, g.ID)
		if err != nil {
			fail("the client's keepalive", err)
		}
		for range 2 {
			r := <-alive
			w.tell("the client's keepalive", r != nil && r.TTL == 5, ctx.Err())
		}
		_, err = w.client.Revoke(ctx, g.ID)
		w.tell("the client's revoke", true, err)
		for range alive {
		}
		w.tell("the client's keepalive ends", true, ctx.Err())
		_, err = w.client.KeepAliveOnce(ctx, g.ID)
		w.tell("the client's keepalive once", true, err)
		_, err = w.client.KeepAliveOnce(ctx, clientv3.LeaseID(1))
		w.tell("the client's keepalive of nothing", true, err)
	})
}
