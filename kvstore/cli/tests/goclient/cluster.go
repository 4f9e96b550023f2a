package main

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func clusterPart(w *world) {
	c := pb.NewClusterClient(w.conn)
	m := pb.NewMaintenanceClient(w.conn)
	all := call(w, "list", c.MemberList, &pb.MemberListRequest{})
	call(w, "list linearizably", c.MemberList, &pb.MemberListRequest{Linearizable: true})
	var self *pb.Member
	id := uint64(0)
	w.bounded(func(ctx context.Context) {
		r, err := m.Status(ctx, &pb.StatusRequest{})
		if err != nil {
			fail("status", err)
		}
		id = r.Header.MemberId
	})
	for _, member := range all.GetMembers() {
		if member.ID == id {
			self = member
		}
	}
	call(w, "add nothing", c.MemberAdd, &pb.MemberAddRequest{})
	call(w, "add an empty URL", c.MemberAdd, &pb.MemberAddRequest{PeerURLs: []string{""}})
	call(w, "add garbage", c.MemberAdd, &pb.MemberAddRequest{PeerURLs: []string{"frob"}})
	call(w, "add without a port", c.MemberAdd, &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1"}})
	call(w, "add with a path", c.MemberAdd, &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1/x"}})
	call(w, "add a scheme that is none", c.MemberAdd, &pb.MemberAddRequest{PeerURLs: []string{"ftp://127.0.0.1:1"}})
	call(w, "remove nobody", c.MemberRemove, &pb.MemberRemoveRequest{ID: 7})
	call(w, "remove zero", c.MemberRemove, &pb.MemberRemoveRequest{})
	call(w, "promote nobody", c.MemberPromote, &pb.MemberPromoteRequest{ID: 7})
	call(w, "promote a voter", c.MemberPromote, &pb.MemberPromoteRequest{ID: id})
	call(w, "update nobody", c.MemberUpdate, &pb.MemberUpdateRequest{ID: 7, PeerURLs: []string{"http://127.0.0.1:1"}})
	// An update without URLs, or to garbage, is taken by a real etcd, and then its peers fail: it is not asked here.
	call(w, "update to the same", c.MemberUpdate, &pb.MemberUpdateRequest{ID: id, PeerURLs: self.GetPeerURLs()})
	for _, member := range all.GetMembers() {
		if member.ID != id {
			call(w, "update to another's", c.MemberUpdate, &pb.MemberUpdateRequest{ID: id, PeerURLs: member.PeerURLs})
		}
	}
	call(w, "list at the end", c.MemberList, &pb.MemberListRequest{Linearizable: true})
}
