package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// rangeStream joins the chunks: how a range is cut depends on sizes, what it is does not.
func (w *world) rangeStream(step string, q *pb.RangeRequest) {
	w.bounded(func(ctx context.Context) {
		stream, err := pb.NewKVClient(w.conn).RangeStream(ctx, q)
		if err != nil {
			w.tell(step, nil, err)
			return
		}
		whole := &pb.RangeResponse{}
		early := false
		for {
			chunk, err := stream.Recv()
			if err == io.EOF {
				break
			}
			if err != nil {
				w.tell(step, nil, err)
				return
			}
			r := chunk.RangeResponse
			early = early || whole.Header != nil
			whole.Kvs = append(whole.Kvs, r.GetKvs()...)
			whole.Header, whole.More, whole.Count = r.GetHeader(), r.GetMore(), r.GetCount()
		}
		if len(whole.Kvs) > 50 {
			whole.Kvs = whole.Kvs[len(whole.Kvs)-2:]
		}
		w.tell(step, whole, nil)
		if early {
			w.tell(step+": a header before the last chunk", early, nil)
		}
	})
}

func streamPart(w *world) {
	for n := range 400 {
		w.put(fmt.Sprintf("s/%03d", n), strings.Repeat("v", 10_000))
	}
	s, end := b("s/"), b("s0")
	now := w.revision()
	for n, q := range []*pb.RangeRequest{
		{},
		{Key: s, RangeEnd: end},
		{Key: s, RangeEnd: end, KeysOnly: true},
		{Key: s, RangeEnd: end, CountOnly: true},
		{Key: s, RangeEnd: end, Limit: 3},
		{Key: s, RangeEnd: end, Limit: 11},
		{Key: s, RangeEnd: end, Limit: -1, KeysOnly: true},
		{Key: s, RangeEnd: end, Limit: 5000, KeysOnly: true},
		{Key: end, RangeEnd: s},
		{Key: b("s/007")},
		{Key: b("none")},
		{Key: s, RangeEnd: end, Revision: now - 100, KeysOnly: true},
		{Key: s, RangeEnd: end, Revision: now + 100},
		{Key: s, RangeEnd: end, Revision: 2},
		{Key: s, RangeEnd: end, Revision: -1, Limit: 1},
		{Key: s, RangeEnd: end, Serializable: true, Limit: 1},
		{Key: s, RangeEnd: end, SortOrder: pb.RangeRequest_ASCEND, Limit: 1},
		{Key: s, RangeEnd: end, SortOrder: pb.RangeRequest_DESCEND},
		{Key: s, RangeEnd: end, SortTarget: pb.RangeRequest_MOD, Limit: 2},
		{Key: s, RangeEnd: end, SortOrder: pb.RangeRequest_ASCEND, SortTarget: pb.RangeRequest_MOD},
		{Key: s, RangeEnd: end, SortOrder: 9},
		{Key: s, RangeEnd: end, SortTarget: 9},
		{Key: s, RangeEnd: end, MinModRevision: 3},
		{Key: s, RangeEnd: end, MaxModRevision: 3},
		{Key: s, RangeEnd: end, MinCreateRevision: 3},
		{Key: s, RangeEnd: end, MaxCreateRevision: 3},
	} {
		w.rangeStream(fmt.Sprintf("stream %d", n), q)
	}
	w.bounded(func(ctx context.Context) {
		stream, err := w.client.GetStream(ctx, "s/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			w.tell("the client's own", nil, err)
			return
		}
		r, err := clientv3.GetStreamToGetResponse(stream)
		if err == nil {
			r.Kvs = r.Kvs[:1]
		}
		w.tell("the client's own", (*pb.RangeResponse)(r), err)
	})
	kv := pb.NewKVClient(w.conn)
	call(w, "forget them", kv.DeleteRange, &pb.DeleteRangeRequest{Key: s, RangeEnd: end})
}
