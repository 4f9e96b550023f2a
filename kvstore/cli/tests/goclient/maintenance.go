package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func maintenancePart(w *world) {
	m := pb.NewMaintenanceClient(w.conn)
	kv := pb.NewKVClient(w.conn)
	for n := range 10 {
		w.put(fmt.Sprintf("h/%d", n%3), fmt.Sprint(n))
	}
	call(w, "status", m.Status, &pb.StatusRequest{})
	now := w.revision()
	for _, revision := range []int64{0, now, now - 1, now - 5, now + 1, -1} {
		call(w, fmt.Sprintf("hashkv at %d of %d", revision, now), m.HashKV, &pb.HashKVRequest{Revision: revision})
	}
	call(w, "compact", kv.Compact, &pb.CompactionRequest{Revision: now - 4, Physical: true})
	for _, revision := range []int64{0, now, now - 4, now - 5, now - 3} {
		call(w, fmt.Sprintf("hashkv at %d of %d after it", revision, now), m.HashKV, &pb.HashKVRequest{Revision: revision})
	}
	w.bounded(func(ctx context.Context) {
		r, err := m.Hash(ctx, &pb.HashRequest{})
		w.tell("hash", r.GetHash() != 0, err)
	})
	call(w, "defragment", m.Defragment, &pb.DefragmentRequest{})
	call(w, "hashkv after that", m.HashKV, &pb.HashKVRequest{})
	w.snapshot(m)
	alarms(w)
	for _, q := range []*pb.DowngradeRequest{
		{}, {Version: "3.6"}, {Version: "3.6.0"}, {Version: "3.6.9"}, {Version: "3.5.0"}, {Version: "3.7.0"}, {Version: "3.8.0"}, {Version: "4.0.0"}, {Version: "x"},
		{Action: pb.DowngradeRequest_CANCEL}, {Action: 9, Version: "3.6"}, {Action: pb.DowngradeRequest_ENABLE, Version: "x"}, {Action: pb.DowngradeRequest_ENABLE, Version: "3.5"},
	} {
		call(w, fmt.Sprintf("downgrade %d %q", q.Action, q.Version), m.Downgrade, q)
	}
	call(w, "move the leader to nobody", m.MoveLeader, &pb.MoveLeaderRequest{TargetID: 7})
	call(w, "move the leader to zero", m.MoveLeader, &pb.MoveLeaderRequest{})
}

func (w *world) snapshot(m pb.MaintenanceClient) {
	w.bounded(func(ctx context.Context) {
		stream, err := m.Snapshot(ctx, &pb.SnapshotRequest{})
		if err != nil {
			w.tell("snapshot", nil, err)
			return
		}
		var file []byte
		version := ""
		var left uint64
		for {
			r, err := stream.Recv()
			if err == io.EOF {
				break
			}
			if err != nil {
				w.tell("snapshot", nil, err)
				return
			}
			file = append(file, r.Blob...)
			left = r.RemainingBytes
			if r.Version != "" {
				version = r.Version
			}
		}
		// The file's own SHA-256 stands behind whole pages.
		body, sum := file[:len(file)-sha256.Size], file[len(file)-sha256.Size:]
		w.tell("snapshot", map[string]any{
			"version": version, "left": left, "pages": len(body)%512 == 0, "checksum": sha256.Sum256(body) == [32]byte(sum),
		}, nil)
	})
}

func alarms(w *world) {
	m := pb.NewMaintenanceClient(w.conn)
	kv := pb.NewKVClient(w.conn)
	l := pb.NewLeaseClient(w.conn)
	list, on, off := pb.AlarmRequest_GET, pb.AlarmRequest_ACTIVATE, pb.AlarmRequest_DEACTIVATE
	status := call(w, "status before the alarm", m.Status, &pb.StatusRequest{})
	id := status.GetHeader().GetMemberId()
	call(w, "no alarms", m.Alarm, &pb.AlarmRequest{Action: list})
	call(w, "disarm what is not", m.Alarm, &pb.AlarmRequest{Action: off, MemberID: id, Alarm: pb.AlarmType_NOSPACE})
	call(w, "raise NOSPACE", m.Alarm, &pb.AlarmRequest{Action: on, MemberID: id, Alarm: pb.AlarmType_NOSPACE})
	call(w, "raise it again", m.Alarm, &pb.AlarmRequest{Action: on, MemberID: id, Alarm: pb.AlarmType_NOSPACE})
	call(w, "alarms of every kind", m.Alarm, &pb.AlarmRequest{Action: list})
	call(w, "alarms of a kind", m.Alarm, &pb.AlarmRequest{Action: list, Alarm: pb.AlarmType_CORRUPT})
	call(w, "status under NOSPACE", m.Status, &pb.StatusRequest{})
	call(w, "put under NOSPACE", kv.Put, set("h/x", "1"))
	call(w, "txn under NOSPACE", kv.Txn, then(set("h/x", "1")))
	call(w, "txn that may put", kv.Txn, &pb.TxnRequest{Success: ops(get("h/0")), Failure: ops(set("h/x", "1"))})
	call(w, "txn that only deletes", kv.Txn, then(del("h/none", "")))
	call(w, "range under NOSPACE", kv.Range, get("h/0"))
	call(w, "delete under NOSPACE", kv.DeleteRange, del("h/0", ""))
	call(w, "grant under NOSPACE", l.LeaseGrant, &pb.LeaseGrantRequest{ID: 0x41, TTL: 100})
	call(w, "disarm", m.Alarm, &pb.AlarmRequest{Action: off, MemberID: id, Alarm: pb.AlarmType_NOSPACE})
	call(w, "put after it", kv.Put, set("h/x", "1"))
	call(w, "raise CORRUPT", m.Alarm, &pb.AlarmRequest{Action: on, MemberID: id, Alarm: pb.AlarmType_CORRUPT})
	call(w, "put under CORRUPT", kv.Put, set("h/x", "2"))
	call(w, "range under CORRUPT", kv.Range, get("h/x"))
	call(w, "txn of reads under CORRUPT", kv.Txn, then(get("h/x")))
	call(w, "delete under CORRUPT", kv.DeleteRange, del("h/x", ""))
	call(w, "compact under CORRUPT", kv.Compact, &pb.CompactionRequest{Revision: w.revision()})
	call(w, "grant under CORRUPT", l.LeaseGrant, &pb.LeaseGrantRequest{ID: 0x42, TTL: 100})
	call(w, "status under CORRUPT", m.Status, &pb.StatusRequest{})
	call(w, "disarm the other kind", m.Alarm, &pb.AlarmRequest{Action: off, MemberID: id, Alarm: pb.AlarmType_NOSPACE})
	call(w, "disarm CORRUPT", m.Alarm, &pb.AlarmRequest{Action: off, MemberID: id, Alarm: pb.AlarmType_CORRUPT})
	call(w, "put at last", kv.Put, set("h/x", "3"))
	call(w, "no alarms again", m.Alarm, &pb.AlarmRequest{Action: list})
}
