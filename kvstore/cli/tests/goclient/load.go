package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	// loadTimeout bounds one write; what takes longer counts as unknown.
	loadTimeout = 3 * time.Second
	// loadPause keeps the load steady instead of as fast as possible.
	loadPause = 2 * time.Millisecond
	// catchUpTimeout bounds the wait of the watcher for the last write, once the faults are over.
	catchUpTimeout = 30 * time.Second
)

// load writes until its standard input ends, and prints a line for each outcome:
//
//	ack KEY REVISION     acknowledged
//	unknown KEY ERROR    it may have happened or not
//	back ...             an answer that goes back behind an earlier one: never
//	watch ...            something wrong with the events: never
//	end ACKS EVENTS      after the last write, and after the watcher has seen it
//
// Every write goes to a key of its own. A watcher follows all of them through the same faults.
func load(endpoints []string, writers int, prefix string) {
	c, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: stepTimeout, Logger: zap.NewNop(),
		DialKeepAliveTime: time.Second, DialKeepAliveTimeout: 2 * time.Second,
	})
	if err != nil {
		fail("make a client", err)
	}
	l := &loading{client: c, prefix: prefix, out: bufio.NewWriter(os.Stdout), acked: map[string]int64{}}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString(0)
		stop()
	}()
	watching, unwatch := context.WithCancel(context.Background())
	events := make(chan map[string]int64, 1)
	go func() { events <- l.watch(watching) }()
	var all sync.WaitGroup
	for n := range writers {
		all.Add(1)
		go func() {
			defer all.Done()
			l.write(ctx, n)
		}()
	}
	all.Wait()
	l.catchUp()
	unwatch()
	seen := <-events
	for key, revision := range l.acked {
		if seen[key] != revision {
			l.say("watch lost %s of revision %d, saw %d", key, revision, seen[key])
		}
	}
	l.say("end %d %d", len(l.acked), len(seen))
}

type loading struct {
	client *clientv3.Client
	prefix string
	// highest is the highest revision that any answer has told.
	highest atomic.Int64
	// watched is the highest revision that the watcher has seen.
	watched atomic.Int64
	mu      sync.Mutex
	out     *bufio.Writer
	acked   map[string]int64
}

func (l *loading) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, format+"\n", args...)
	_ = l.out.Flush()
}

func (l *loading) write(ctx context.Context, writer int) {
	for n := 0; ctx.Err() == nil; n++ {
		key := fmt.Sprintf("%s%d/%06d", l.prefix, writer, n)
		floor := l.highest.Load()
		bound, cancel := context.WithTimeout(context.Background(), loadTimeout)
		var revision int64
		var err error
		// A tenth are reads: what they tell must not go back either.
		if n%10 == 9 {
			var r *clientv3.GetResponse
			if r, err = l.client.Get(bound, l.prefix, clientv3.WithPrefix(), clientv3.WithLimit(1)); err == nil {
				if r.Header.Revision < floor {
					l.say("back: a read at %d after %d", r.Header.Revision, floor)
				}
			}
		} else {
			var r *clientv3.PutResponse
			if r, err = l.client.Put(bound, key, key); err == nil {
				revision = r.Header.Revision
				if revision <= floor {
					l.say("back: %s at %d after %d", key, revision, floor)
				}
				l.raise(revision)
				l.mu.Lock()
				l.acked[key] = revision
				l.mu.Unlock()
				l.say("ack %s %d", key, revision)
			} else {
				l.say("unknown %s %v", key, err)
			}
		}
		cancel()
		time.Sleep(loadPause)
	}
}

func (l *loading) raise(revision int64) {
	for {
		now := l.highest.Load()
		if revision <= now || l.highest.CompareAndSwap(now, revision) {
			return
		}
	}
}

// watch follows all writes and returns the revision of each key.
func (l *loading) watch(ctx context.Context) map[string]int64 {
	seen := map[string]int64{}
	for r := range l.client.Watch(clientv3.WithRequireLeader(ctx), l.prefix, clientv3.WithPrefix(), clientv3.WithRev(1)) {
		if r.Err() != nil {
			// A lost leader ends a watch that asked for one; the next one goes on where this ended.
			if ctx.Err() == nil {
				for key, revision := range l.watchOn(ctx) {
					seen[key] = revision
				}
			}
			return seen
		}
		l.take(seen, r.Events)
	}
	return seen
}

// watchOn goes on after a cancelled watch, as often as needed.
func (l *loading) watchOn(ctx context.Context) map[string]int64 {
	seen := map[string]int64{}
	for ctx.Err() == nil {
		inner, cancel := context.WithCancel(ctx)
		for r := range l.client.Watch(clientv3.WithRequireLeader(inner), l.prefix, clientv3.WithPrefix(), clientv3.WithRev(l.watched.Load()+1)) {
			if r.Err() != nil {
				break
			}
			l.take(seen, r.Events)
		}
		cancel()
		time.Sleep(loadPause)
	}
	return seen
}

func (l *loading) take(seen map[string]int64, events []*clientv3.Event) {
	for _, e := range events {
		key := string(e.Kv.Key)
		if e.Kv.ModRevision <= l.watched.Load() {
			l.say("watch: %s of %d came after %d", key, e.Kv.ModRevision, l.watched.Load())
		}
		seen[key] = e.Kv.ModRevision
		l.watched.Store(e.Kv.ModRevision)
	}
}

func (l *loading) catchUp() {
	deadline := time.Now().Add(catchUpTimeout)
	for l.watched.Load() < l.highest.Load() {
		if time.Now().After(deadline) {
			l.say("watch: at %d, not at %d", l.watched.Load(), l.highest.Load())
			return
		}
		time.Sleep(loadPause)
	}
}
