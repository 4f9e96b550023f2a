package main

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
)

// lockPart asks the services that keep locks and elections for clients in other languages.
func lockPart(w *world) {
	l := v3lockpb.NewLockClient(w.conn)
	e := v3electionpb.NewElectionClient(w.conn)
	lease := pb.NewLeaseClient(w.conn)
	for _, id := range []int64{0x31, 0x32} {
		call(w, "grant", lease.LeaseGrant, &pb.LeaseGrantRequest{ID: id, TTL: 600})
	}
	call(w, "lock", l.Lock, &v3lockpb.LockRequest{Name: b("door"), Lease: 0x31})
	call(w, "lock again with the same lease", l.Lock, &v3lockpb.LockRequest{Name: b("door"), Lease: 0x31})
	call(w, "lock with a lease that is not", l.Lock, &v3lockpb.LockRequest{Name: b("door"), Lease: 0x99})
	call(w, "lock without a name", l.Lock, &v3lockpb.LockRequest{Lease: 0x31})
	got := make(chan error, 1)
	w.bounded(func(ctx context.Context) {
		go func() {
			r, err := l.Lock(ctx, &v3lockpb.LockRequest{Name: b("door"), Lease: 0x32})
			w.tell("the other has it", string(r.GetKey()), err)
			got <- err
		}()
		_, err := l.Unlock(ctx, &v3lockpb.UnlockRequest{Key: b("door/31")})
		if err != nil {
			w.tell("unlock", nil, err)
		}
		<-got
	})
	call(w, "unlock the other", l.Unlock, &v3lockpb.UnlockRequest{Key: b("door/32")})
	call(w, "unlock what is not there", l.Unlock, &v3lockpb.UnlockRequest{Key: b("none")})
	call(w, "unlock without a key", l.Unlock, &v3lockpb.UnlockRequest{})

	call(w, "nobody leads", e.Leader, &v3electionpb.LeaderRequest{Name: b("chair")})
	won := call(w, "campaign", e.Campaign, &v3electionpb.CampaignRequest{Name: b("chair"), Lease: 0x31, Value: b("alice")})
	call(w, "campaign with a lease that is not", e.Campaign, &v3electionpb.CampaignRequest{Name: b("other"), Lease: 0x99, Value: b("x")})
	call(w, "who leads", e.Leader, &v3electionpb.LeaderRequest{Name: b("chair")})
	w.bounded(func(ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := e.Observe(ctx, &v3electionpb.LeaderRequest{Name: b("chair")})
		if err != nil {
			w.tell("observe", nil, err)
			return
		}
		r, err := stream.Recv()
		w.tell("observe", r, err)
		call(w, "proclaim", e.Proclaim, &v3electionpb.ProclaimRequest{Leader: won.GetLeader(), Value: b("alice again")})
		r, err = stream.Recv()
		w.tell("observe the proclamation", r, err)
	})
	call(w, "proclaim for nobody", e.Proclaim, &v3electionpb.ProclaimRequest{Value: b("x")})
	call(w, "proclaim for a stranger", e.Proclaim, &v3electionpb.ProclaimRequest{Leader: &v3electionpb.LeaderKey{Name: b("chair"), Key: b("chair/99"), Rev: 3, Lease: 0x32}, Value: b("x")})
	call(w, "resign for nobody", e.Resign, &v3electionpb.ResignRequest{})
	call(w, "resign", e.Resign, &v3electionpb.ResignRequest{Leader: won.GetLeader()})
	call(w, "resign twice", e.Resign, &v3electionpb.ResignRequest{Leader: won.GetLeader()})
	call(w, "nobody leads any more", e.Leader, &v3electionpb.LeaderRequest{Name: b("chair")})
	for _, id := range []int64{0x31, 0x32} {
		call(w, "revoke", lease.LeaseRevoke, &pb.LeaseRevokeRequest{ID: id})
	}
}
