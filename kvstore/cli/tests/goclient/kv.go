package main

import (
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func b(s string) []byte { return []byte(s) }

func kvPart(w *world) {
	kv := pb.NewKVClient(w.conn)
	call(w, "compact a fresh store at -1", kv.Compact, &pb.CompactionRequest{Revision: -1})
	call(w, "compact a fresh store at 1", kv.Compact, &pb.CompactionRequest{Revision: 1})
	call(w, "compact in the future", kv.Compact, &pb.CompactionRequest{Revision: 2})
	puts := []*pb.PutRequest{
		{},
		{Value: b("x")},
		{Key: b("a")},
		{Key: b("a"), Value: b("1")},
		{Key: b("a"), Value: b("2"), PrevKv: true},
		{Key: b("a"), Value: b("x"), IgnoreValue: true},
		{Key: b("a"), IgnoreValue: true, PrevKv: true},
		{Key: b("none"), IgnoreValue: true},
		{Key: b("none"), IgnoreLease: true},
		{Key: b("a"), Lease: 5, IgnoreLease: true},
		{Key: b("a"), Lease: 5},
		{Key: b("a"), Lease: -5},
		{Key: b("a"), Value: b("3"), IgnoreLease: true, PrevKv: true},
		{Key: b("a"), IgnoreLease: true, IgnoreValue: true},
		{Key: []byte{0}, Value: []byte{0xff, 0xfe}},
		{Key: []byte{0xff}, Value: b("last")},
		{Key: b("empty")},
	}
	for n, q := range puts {
		call(w, fmt.Sprintf("put %d", n), kv.Put, q)
	}
	for n := range 30 {
		call(w, fmt.Sprintf("put k/%02d", n), kv.Put, &pb.PutRequest{Key: fmt.Appendf(nil, "k/%02d", n), Value: fmt.Appendf(nil, "%d", 29-n)})
	}
	for _, n := range []int{3, 7, 3} {
		call(w, fmt.Sprintf("put k/%02d again", n), kv.Put, &pb.PutRequest{Key: fmt.Appendf(nil, "k/%02d", n), Value: b("again")})
	}
	k, end := b("k/"), b("k0")
	ranges := []*pb.RangeRequest{
		{},
		{RangeEnd: b("z")},
		{Key: b("none")},
		{Key: b("a")},
		{Key: b("a"), Serializable: true},
		{Key: []byte{0}, RangeEnd: []byte{0}, KeysOnly: true},
		{Key: []byte{0}, RangeEnd: []byte{0}, CountOnly: true},
		{Key: k, RangeEnd: end},
		{Key: end, RangeEnd: k},
		{Key: k, RangeEnd: k},
		{Key: k, RangeEnd: end, Limit: 3},
		{Key: k, RangeEnd: end, Limit: 30},
		{Key: k, RangeEnd: end, Limit: 31},
		{Key: k, RangeEnd: end, Limit: -3},
		{Key: k, RangeEnd: end, Limit: 3, CountOnly: true},
		{Key: k, RangeEnd: end, Revision: 5},
		{Key: k, RangeEnd: end, Revision: 20},
		{Key: k, RangeEnd: end, Revision: 20, Limit: 1},
		{Key: k, RangeEnd: end, Revision: 99999},
		{Key: k, RangeEnd: end, Revision: -1, CountOnly: true},
		{Key: k, RangeEnd: end, Revision: 1},
		{Key: k, RangeEnd: end, MinModRevision: 20, MaxModRevision: 25},
		{Key: k, RangeEnd: end, MinModRevision: 25, MaxModRevision: 20},
		{Key: k, RangeEnd: end, MinCreateRevision: 20, MaxCreateRevision: 25, KeysOnly: true},
		{Key: k, RangeEnd: end, MinCreateRevision: 20, Limit: 2},
		{Key: k, RangeEnd: end, MinModRevision: -1, Limit: 1},
		{Key: k, RangeEnd: end, MaxModRevision: 30, CountOnly: true},
		{Key: k, RangeEnd: end, SortOrder: 9, Limit: 1},
		{Key: k, RangeEnd: end, SortTarget: 9, Limit: 1},
		{Key: k, RangeEnd: end, SortOrder: -1, Limit: 1},
	}
	// Each of them different by every target: how ties are ordered is nobody's promise.
	for n, value := range []string{"d", "a", "e", "c", "b"} {
		for range n + 1 {
			call(w, "put for sorting", kv.Put, &pb.PutRequest{Key: fmt.Appendf(nil, "v/%d", (n*3)%5), Value: b(value)})
		}
	}
	for order := range int32(3) {
		for target := range int32(5) {
			ranges = append(ranges, &pb.RangeRequest{
				Key: b("v/"), RangeEnd: b("v0"), Limit: 4,
				SortOrder: pb.RangeRequest_SortOrder(order), SortTarget: pb.RangeRequest_SortTarget(target),
			})
		}
	}
	for n, q := range ranges {
		call(w, fmt.Sprintf("range %d", n), kv.Range, q)
	}
	deletes := []*pb.DeleteRangeRequest{
		{},
		{RangeEnd: b("z")},
		{Key: b("none")},
		{Key: b("none"), PrevKv: true},
		{Key: b("k/05")},
		{Key: b("k/06"), PrevKv: true},
		{Key: b("k/05"), PrevKv: true},
		{Key: end, RangeEnd: k},
		{Key: k, RangeEnd: k},
		{Key: b("k/10"), RangeEnd: b("k/15"), PrevKv: true},
		{Key: b("k/20"), RangeEnd: []byte{0}, PrevKv: true},
	}
	for n, q := range deletes {
		call(w, fmt.Sprintf("delete %d", n), kv.DeleteRange, q)
	}
	call(w, "all that is left", kv.Range, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	// Sizes: what just fits, what does not, what the transport refuses.
	for _, size := range []int{1 << 20, 1572864 - 100, 1573000, 2200000} {
		call(w, fmt.Sprintf("put %d bytes", size), kv.Put, &pb.PutRequest{Key: b("big"), Value: b(strings.Repeat("x", size))})
	}
	call(w, "delete the big one", kv.DeleteRange, &pb.DeleteRangeRequest{Key: b("big")})
	call(w, "a key of 100 kB", kv.Put, &pb.PutRequest{Key: b(strings.Repeat("k", 100_000)), Value: b("x")})
	call(w, "count it", kv.Range, &pb.RangeRequest{Key: b("kk"), RangeEnd: b("kl"), CountOnly: true})
	call(w, "delete it", kv.DeleteRange, &pb.DeleteRangeRequest{Key: b("kk"), RangeEnd: b("kl")})
	call(w, "compact", kv.Compact, &pb.CompactionRequest{Revision: 20})
	call(w, "compact again", kv.Compact, &pb.CompactionRequest{Revision: 20})
	call(w, "compact before", kv.Compact, &pb.CompactionRequest{Revision: 0})
	call(w, "compact physically", kv.Compact, &pb.CompactionRequest{Revision: 40, Physical: true})
	for _, revision := range []int64{39, 40, 41, 0, -7} {
		call(w, fmt.Sprintf("range at %d", revision), kv.Range, &pb.RangeRequest{Key: k, RangeEnd: end, Revision: revision})
	}
}

func op(q any) *pb.RequestOp {
	switch q := q.(type) {
	case *pb.RangeRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: q}}
	case *pb.PutRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: q}}
	case *pb.DeleteRangeRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: q}}
	case *pb.TxnRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: q}}
	}
	return &pb.RequestOp{}
}

func ops(qs ...any) []*pb.RequestOp {
	var all []*pb.RequestOp
	for _, q := range qs {
		all = append(all, op(q))
	}
	return all
}

func then(qs ...any) *pb.TxnRequest { return &pb.TxnRequest{Success: ops(qs...)} }

func get(key string) *pb.RangeRequest { return &pb.RangeRequest{Key: b(key)} }
func set(key, value string) *pb.PutRequest {
	return &pb.PutRequest{Key: b(key), Value: b(value)}
}
func del(key, end string) *pb.DeleteRangeRequest {
	return &pb.DeleteRangeRequest{Key: b(key), RangeEnd: b(end), PrevKv: true}
}

func txnPart(w *world) {
	kv := pb.NewKVClient(w.conn)
	w.put("t/a", "1")
	w.put("t/b", "2")
	w.put("t/a", "3")
	many := func(n int) []any {
		var all []any
		for i := range n {
			all = append(all, set(fmt.Sprintf("m/%03d", i), "x"))
		}
		return all
	}
	gets := func(n int) []any {
		var all []any
		for range n {
			all = append(all, &pb.RangeRequest{Key: b("t/a"), CountOnly: true})
		}
		return all
	}
	txns := []*pb.TxnRequest{
		{},
		then(set("t/c", "1"), get("t/c"), get("t/"), del("t/a", ""), get("t/a")),
		then(set("t/a", "1"), set("t/a", "2")),
		then(set("t/a", "1"), del("t/a", "")),
		then(set("t/a", "1"), del("t/", "t0")),
		then(del("t/c", ""), del("t/c", "")),
		then(del("t/", "t0"), del("t/", "t0")),
		then(set("", "x")),
		then(&pb.RangeRequest{}),
		then(&pb.DeleteRangeRequest{}),
		then(nil),
		then(&pb.PutRequest{Key: b("t/a"), Lease: 99}),
		then(set("t/z", "1"), &pb.PutRequest{Key: b("t/y"), Lease: 99}),
		then(&pb.PutRequest{Key: b("nope"), IgnoreValue: true}),
		then(&pb.PutRequest{Key: b("t/a"), Value: b("x"), IgnoreValue: true}),
		then(&pb.RangeRequest{Key: b("t/a"), Revision: 99999}),
		then(&pb.RangeRequest{Key: b("t/a"), Revision: 3}),
		then(&pb.RangeRequest{Key: b("t/a"), Revision: -3}),
		then(&pb.RangeRequest{Key: b("t/a"), SortOrder: 8}),
		{Failure: ops(&pb.RangeRequest{Key: b("t/a"), Revision: 99999})},
		{Failure: ops(&pb.PutRequest{Key: b("t/a"), Lease: 99})},
		{Success: ops(set("both", "1")), Failure: ops(set("both", "2"))},
		then(set("n/1", "1"), &pb.TxnRequest{Success: ops(set("n/2", "1"), &pb.TxnRequest{Success: ops(set("n/3", "1"), get("n/1"))})}),
		then(set("n/1", "1"), &pb.TxnRequest{Success: ops(set("n/1", "1"))}),
		then(set("n/1", "1"), &pb.TxnRequest{Failure: ops(set("n/1", "1"))}),
		then(&pb.TxnRequest{Success: ops(set("n/1", "1"))}, &pb.TxnRequest{Success: ops(set("n/1", "1"))}),
		then(&pb.TxnRequest{Success: ops(set("n/1", "1")), Failure: ops(set("n/1", "2"))}),
		then(set("n/1", "x"), &pb.TxnRequest{
			Compare: []*pb.Compare{{Key: b("n/1"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: b("1")}}},
			Success: ops(get("n/1")), Failure: ops(del("n/1", "")),
		}),
		then(many(128)...),
		then(many(129)...),
		then(gets(128)...),
		then(gets(129)...),
		then(&pb.TxnRequest{Success: ops(gets(129)...)}),
		{Success: ops(gets(128)...), Failure: ops(gets(128)...)},
		then(del("m/", "m0")),
	}
	for n, q := range txns {
		call(w, fmt.Sprintf("txn %d", n), kv.Txn, q)
	}
	w.put("c/1", "one")
	w.put("c/2", "two")
	for result := range int32(5) {
		for target := range int32(6) {
			for n, key := range []string{"c/1", "none"} {
				for _, end := range []string{"", "d"} {
					c := &pb.Compare{
						Result: pb.Compare_CompareResult(result), Target: pb.Compare_CompareTarget(target),
						Key: b(key), RangeEnd: b(end),
					}
					switch target {
					case 0:
						c.TargetUnion = &pb.Compare_Version{Version: int64(n)}
					case 1:
						c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: 50}
					case 2:
						c.TargetUnion = &pb.Compare_ModRevision{ModRevision: 0}
					case 3:
						c.TargetUnion = &pb.Compare_Value{Value: b("one")}
					}
					call(w, fmt.Sprintf("compare %d %d %s %s", result, target, key, end), kv.Txn, &pb.TxnRequest{Compare: []*pb.Compare{c}})
				}
			}
		}
	}
	call(w, "compare without a key", kv.Txn, &pb.TxnRequest{Compare: []*pb.Compare{{}}})
	var compares []*pb.Compare
	for range 129 {
		compares = append(compares, &pb.Compare{Key: b("c/1")})
	}
	call(w, "129 compares", kv.Txn, &pb.TxnRequest{Compare: compares})
	call(w, "what is there", kv.Range, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
}
