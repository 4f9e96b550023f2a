package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

// watching is one stream of watches; answers arrive in a channel that closes with the stream.
type watching struct {
	w       *world
	stream  pb.Watch_WatchClient
	answers chan *pb.WatchResponse
	ended   chan error
	cancel  context.CancelFunc
}

func (w *world) watching(pairs ...string) *watching {
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(w.ctx, pairs...))
	stream, err := pb.NewWatchClient(w.conn).Watch(ctx)
	if err != nil {
		fail("open a watch stream", err)
	}
	s := &watching{w: w, stream: stream, answers: make(chan *pb.WatchResponse, 1000), ended: make(chan error, 1), cancel: cancel}
	go func() {
		defer close(s.answers)
		for {
			r, err := stream.Recv()
			if err != nil {
				s.ended <- err
				return
			}
			s.answers <- r
		}
	}()
	return s
}

func (s *watching) create(q *pb.WatchCreateRequest) {
	s.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: q}})
}

func (s *watching) drop(id int64) {
	s.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
}

func (s *watching) progress() {
	s.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
}

func (s *watching) send(q *pb.WatchRequest) {
	if err := s.stream.Send(q); err != nil {
		s.w.tell("send", nil, err)
	}
}

// next tells the next answer, or that none comes.
func (s *watching) next(step string) *pb.WatchResponse {
	select {
	case r, ok := <-s.answers:
		if !ok {
			s.w.tell(step, nil, <-s.ended)
			return nil
		}
		s.w.tell(step, r, nil)
		return r
	case <-time.After(stepTimeout):
		s.w.tell(step, "nothing within the bound", nil)
		return nil
	}
}

// one is the next answer, or nothing.
func (s *watching) one() *pb.WatchResponse {
	select {
	case r := <-s.answers:
		return r
	case <-time.After(stepTimeout):
		return nil
	}
}

// quiet tells whether nothing comes.
func (s *watching) quiet(step string) {
	select {
	case r, ok := <-s.answers:
		if !ok {
			s.w.tell(step, nil, <-s.ended)
			return
		}
		s.w.tell(step+": unexpected", r, nil)
	case <-time.After(silence):
		s.w.tell(step, "silence", nil)
	}
}

// take waits for n events, whatever way they are cut into answers; fewer when the bound is over or the stream ends.
func (s *watching) take(n int) []*mvccpb.Event {
	var all []*mvccpb.Event
	bound := time.After(stepTimeout)
	for len(all) < n {
		select {
		case r, ok := <-s.answers:
			if !ok || r.Canceled {
				return all
			}
			all = append(all, r.Events...)
		case <-bound:
			return all
		}
	}
	return all
}

// events tells the next n events of a watch, in the order of their arrival, whatever way they are cut into answers.
func (s *watching) events(step string, n int) {
	all := s.take(n)
	if len(all) < n {
		s.w.tell(step, fmt.Sprintf("only %d of %d events", len(all), n), nil)
	}
	for i, e := range all {
		s.w.tell(fmt.Sprintf("%s: event %d", step, i), e, nil)
	}
}

func watchPart(w *world) {
	base := w.revision()
	w.put("w/a", "1")
	w.put("w/a", "2")
	w.put("w/b", "1")
	kv := pb.NewKVClient(w.conn)
	call(w, "delete", kv.DeleteRange, &pb.DeleteRangeRequest{Key: b("w/a")})
	call(w, "change three at once", kv.Txn, then(set("w/a", "3"), set("w/c", "1"), del("w/b", "")))
	dir, end := b("w/"), b("w0")

	s := w.watching()
	s.create(&pb.WatchCreateRequest{Key: dir, RangeEnd: end, StartRevision: base + 1})
	s.next("created")
	s.events("the past", 7)
	s.create(&pb.WatchCreateRequest{Key: dir, RangeEnd: end, StartRevision: base + 1, PrevKv: true})
	s.next("created with prev_kv")
	s.events("the past with prev_kv", 7)
	s.drop(1)
	s.next("cancelled")
	s.drop(1)
	s.drop(77)
	s.quiet("cancel what is not there")
	s.create(&pb.WatchCreateRequest{Key: b("w/a"), WatchId: 9})
	s.next("an id of one's own")
	s.create(&pb.WatchCreateRequest{Key: b("w/a"), WatchId: 9})
	s.next("the same id again")
	s.create(&pb.WatchCreateRequest{Key: b("w/a"), WatchId: -4})
	s.next("a negative id")
	s.create(&pb.WatchCreateRequest{Key: b("b"), RangeEnd: b("a")})
	s.next("an inverted range")
	s.create(&pb.WatchCreateRequest{Key: b("b"), RangeEnd: b("b")})
	s.next("an empty range")
	s.create(&pb.WatchCreateRequest{Key: b("w/a"), StartRevision: -1})
	s.next("a negative start")
	s.create(&pb.WatchCreateRequest{})
	s.next("no key")
	s.send(&pb.WatchRequest{})
	s.quiet("an empty request")
	s.progress()
	s.next("progress of all")
	s.cancel()

	s = w.watching()
	s.progress()
	s.quiet("progress without watchers")
	s.create(&pb.WatchCreateRequest{Key: dir, RangeEnd: end, Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}, StartRevision: base + 1})
	s.next("created without puts")
	s.events("without puts", 2)
	s.create(&pb.WatchCreateRequest{Key: dir, RangeEnd: end, Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}, StartRevision: base + 1})
	s.next("created without deletes")
	s.events("without deletes", 5)
	s.create(&pb.WatchCreateRequest{Key: dir, RangeEnd: end, Filters: []pb.WatchCreateRequest_FilterType{0, 1}, StartRevision: base + 1})
	s.next("created without anything")
	s.quiet("without anything")
	s.create(&pb.WatchCreateRequest{Key: dir, RangeEnd: end, Filters: []pb.WatchCreateRequest_FilterType{7}, StartRevision: base + 5})
	s.next("created with an unknown filter")
	s.events("with an unknown filter", 3)
	s.cancel()

	s = w.watching()
	now := w.revision()
	s.create(&pb.WatchCreateRequest{Key: b("w/f"), StartRevision: now + 3})
	s.next("created in the future")
	s.progress()
	s.quiet("progress in the future")
	for range 4 {
		w.put("w/f", "x")
	}
	s.events("from the future on", 2)
	s.progress()
	s.next("progress once there")
	s.cancel()

	s = w.watching()
	s.create(&pb.WatchCreateRequest{Key: b("w/live"), PrevKv: true})
	s.next("created live")
	w.put("w/live", "1")
	s.next("first")
	w.put("w/live", "2")
	s.next("second")
	call(w, "delete live", kv.DeleteRange, &pb.DeleteRangeRequest{Key: b("w/live")})
	s.next("third")
	call(w, "three revisions of one key in a txn", kv.Txn, then(set("w/live", "3"), &pb.TxnRequest{Success: ops(get("w/live"))}))
	s.next("fourth")
	w.put("w/other", "1")
	s.quiet("another key")
	s.progress()
	s.next("progress")
	s.cancel()

	s = w.watching()
	s.create(&pb.WatchCreateRequest{Key: b("w/notify"), ProgressNotify: true})
	s.next("created with progress")
	s.cancel()

	// 3.6 MB in all.
	s = w.watching()
	s.create(&pb.WatchCreateRequest{Key: b("w/big/"), RangeEnd: b("w/big0"), Fragment: true})
	s.next("created with fragments")
	start := w.revision() + 1
	for n := range 3 {
		call(w, "a big txn", kv.Txn, then(set(fmt.Sprintf("w/big/%d", n), strings.Repeat("x", 1_200_000))))
	}
	w.tell("live events of a fragmented watch", len(s.take(3)), nil)
	s.create(&pb.WatchCreateRequest{Key: b("w/big/"), RangeEnd: b("w/big0"), Fragment: true, StartRevision: start})
	s.next("created again")
	w.tell("past events of a fragmented watch", len(s.take(3)), nil)
	s.cancel()
	// One revision that its earlier values make larger than an answer may be.
	pair := func(fill string) *pb.TxnRequest {
		return then(set("w/big/4", strings.Repeat(fill, 700_000)), set("w/big/5", strings.Repeat(fill, 700_000)))
	}
	call(w, "a pair", kv.Txn, pair("a"))
	for _, fragment := range []bool{true, false} {
		s = w.watching()
		s.create(&pb.WatchCreateRequest{Key: b("w/big/"), RangeEnd: b("w/big0"), PrevKv: true, Fragment: fragment})
		s.next("created for the pair")
		call(w, "the pair again", kv.Txn, pair("b"))
		var cuts []string
		for seen := 0; seen < 2; {
			r := s.one()
			if r == nil {
				break
			}
			seen += len(r.Events)
			cuts = append(cuts, fmt.Sprintf("%d %t", len(r.Events), r.Fragment))
		}
		w.tell("how the pair comes", cuts, nil)
		s.cancel()
	}
	s = w.watching()
	s.cancel()
	call(w, "forget the big ones", kv.DeleteRange, &pb.DeleteRangeRequest{Key: b("w/big/"), RangeEnd: b("w/big0")})

	now = w.revision()
	call(w, "compact under a watch", kv.Compact, &pb.CompactionRequest{Revision: now, Physical: true})
	s = w.watching()
	s.create(&pb.WatchCreateRequest{Key: dir, RangeEnd: end, StartRevision: base + 1})
	s.next("created before the compaction")
	s.next("and cancelled")
	s.create(&pb.WatchCreateRequest{Key: b("w/big/"), RangeEnd: b("w/big0"), StartRevision: now})
	s.next("created at the compaction")
	s.events("at the compaction", 3)
	s.create(&pb.WatchCreateRequest{Key: b("w/big/"), RangeEnd: b("w/big0"), StartRevision: now - 1})
	s.next("created just before")
	s.next("and cancelled too")
	s.cancel()

	s = w.watching("hasleader", "true")
	s.create(&pb.WatchCreateRequest{Key: b("w/leader")})
	s.next("created with hasleader")
	w.put("w/leader", "1")
	s.next("an event with hasleader")
	s.cancel()
	manyWatchers(w)
	clientWatch(w)
}

func manyWatchers(w *world) {
	s := w.watching()
	for n := range 200 {
		s.create(&pb.WatchCreateRequest{Key: fmt.Appendf(nil, "w/many/%d", n%10), RangeEnd: nil})
		if r := s.one(); r == nil || !r.Created || r.WatchId != int64(n) {
			w.tell("200 watchers of a stream", r, nil)
		}
	}
	w.put("w/many/3", "1")
	ids := 0
	for range 20 {
		ids += int(s.one().GetWatchId())
	}
	w.tell("sum of the ids that got the event", ids, nil)
	s.quiet("the others")
	s.cancel()
}

// clientWatch goes through the client's own watcher.
func clientWatch(w *world) {
	ctx, cancel := context.WithTimeout(w.ctx, stepTimeout)
	defer cancel()
	start := w.revision() + 1
	w.put("cw/a", "1")
	w.put("cw/b", "2")
	answers := w.client.Watch(clientv3.WithRequireLeader(ctx), "cw/", clientv3.WithPrefix(), clientv3.WithRev(start),
		clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	r := <-answers
	w.tell("the client's created", r.Created, r.Err())
	for seen := 0; seen < 2; {
		r, ok := <-answers
		if !ok {
			w.tell("the client's watch ends", nil, ctx.Err())
			return
		}
		for _, e := range r.Events {
			seen++
			w.tell("the client's event", (*mvccpb.Event)(e), nil)
		}
	}
	w.tell("the client asks for progress", nil, w.client.RequestProgress(clientv3.WithRequireLeader(ctx)))
	r = <-answers
	w.tell("the client's progress", r.IsProgressNotify(), r.Err())
	r = <-w.client.Watch(ctx, "cw/", clientv3.WithRev(1))
	w.tell("the client's compacted", r.CompactRevision == w.compacted(), r.Err())
}

// compacted is the revision that reads below are refused for.
func (w *world) compacted() int64 {
	s := w.watching()
	defer s.cancel()
	s.create(&pb.WatchCreateRequest{Key: b("x"), StartRevision: 1})
	for r := s.one(); r != nil; r = s.one() {
		if r.Canceled {
			return r.CompactRevision
		}
	}
	return 0
}
