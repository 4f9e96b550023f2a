package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"
)

func (w *world) session() *concurrency.Session {
	s, err := concurrency.NewSession(w.client, concurrency.WithTTL(30))
	if err != nil {
		fail("make a session", err)
	}
	return s
}

func concurrencyPart(w *world) {
	w.bounded(func(ctx context.Context) { mutexes(ctx, w) })
	w.bounded(func(ctx context.Context) { elections(ctx, w) })
	w.bounded(func(ctx context.Context) { memory(ctx, w) })
	w.bounded(func(ctx context.Context) { recipes(ctx, w) })
}

func mutexes(ctx context.Context, w *world) {
	one, two := w.session(), w.session()
	defer one.Close()
	defer two.Close()
	a, c := concurrency.NewMutex(one, "mutex"), concurrency.NewMutex(two, "mutex")
	w.tell("lock", true, a.Lock(ctx))
	w.tell("lock again", true, a.Lock(ctx))
	w.tell("try while held", true, c.TryLock(ctx))
	got := make(chan error)
	go func() { got <- c.Lock(ctx) }()
	select {
	case err := <-got:
		w.tell("the other has it too", true, err)
	case <-time.After(silence):
		w.tell("the other waits", true, nil)
	}
	w.tell("unlock", true, a.Unlock(ctx))
	w.tell("the other has it", true, <-got)
	r, err := w.client.Txn(ctx).If(c.IsOwner()).Then(clientv3.OpPut("fenced", "1")).Commit()
	w.tell("fenced by the owner", r.Succeeded, err)
	r, err = w.client.Txn(ctx).If(a.IsOwner()).Then(clientv3.OpPut("fenced", "2")).Commit()
	w.tell("fenced by the other", r.Succeeded, err)
	w.tell("the session ends", true, two.Close())
	w.tell("try when free", true, a.TryLock(ctx))
	w.tell("unlock at the end", true, a.Unlock(ctx))
	w.tell("unlock twice", true, a.Unlock(ctx))

	// A counter that only the lock protects.
	var all sync.WaitGroup
	count := 0
	for range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			s := w.session()
			defer s.Close()
			m := concurrency.NewMutex(s, "counter")
			for range 3 {
				if err := m.Lock(ctx); err != nil {
					fail("lock the counter", err)
				}
				count++
				if err := m.Unlock(ctx); err != nil {
					fail("unlock the counter", err)
				}
			}
		}()
	}
	all.Wait()
	w.tell("the counter", count, ctx.Err())
}

func elections(ctx context.Context, w *world) {
	one, two := w.session(), w.session()
	defer one.Close()
	defer two.Close()
	a, c := concurrency.NewElection(one, "room"), concurrency.NewElection(two, "room")
	_, err := a.Leader(ctx)
	w.tell("nobody leads", true, err)
	w.tell("proclaim without leading", true, a.Proclaim(ctx, "x"))
	w.tell("resign without leading", true, a.Resign(ctx))
	seen := c.Observe(ctx)
	w.tell("campaign", true, a.Campaign(ctx, "alice"))
	w.tell("observed", string((<-seen).Kvs[0].Value), nil)
	w.tell("proclaim", true, a.Proclaim(ctx, "alice again"))
	w.tell("observed again", string((<-seen).Kvs[0].Value), nil)
	won := make(chan error)
	go func() { won <- c.Campaign(ctx, "bob") }()
	r, err := a.Leader(ctx)
	w.tell("who leads", string(r.Kvs[0].Value), err)
	w.tell("resign", true, a.Resign(ctx))
	w.tell("the next one", true, <-won)
	w.tell("observed the next", string((<-seen).Kvs[0].Value), nil)
	again := concurrency.ResumeElection(two, "room", c.Key(), c.Rev())
	w.tell("proclaim resumed", true, again.Proclaim(ctx, "bob again"))
	w.tell("observed resumed", string((<-seen).Kvs[0].Value), nil)
	w.tell("resign at last", true, c.Resign(ctx))
}

func memory(ctx context.Context, w *world) {
	w.put("stm/a", "100")
	w.put("stm/b", "0")
	for _, level := range []concurrency.Isolation{concurrency.SerializableSnapshot, concurrency.Serializable, concurrency.RepeatableReads, concurrency.ReadCommitted} {
		var all sync.WaitGroup
		for range 4 {
			all.Add(1)
			go func() {
				defer all.Done()
				_, err := concurrency.NewSTM(w.client, func(s concurrency.STM) error {
					var from, to int
					if _, err := fmt.Sscan(s.Get("stm/a"), &from); err != nil {
						return err
					}
					if _, err := fmt.Sscan(s.Get("stm/b"), &to); err != nil {
						return err
					}
					s.Put("stm/a", fmt.Sprint(from-5))
					s.Put("stm/b", fmt.Sprint(to+5))
					return nil
				}, concurrency.WithIsolation(level), concurrency.WithAbortContext(ctx), concurrency.WithPrefetch("stm/a", "stm/b"))
				if err != nil {
					fail("a transfer", err)
				}
			}()
		}
		all.Wait()
		r, err := w.client.Get(ctx, "stm/", clientv3.WithPrefix())
		if err != nil {
			fail("read the accounts", err)
		}
		w.tell(fmt.Sprintf("accounts after level %d", level), string(r.Kvs[0].Value)+" "+string(r.Kvs[1].Value), nil)
	}
	_, err := concurrency.NewSTM(w.client, func(concurrency.STM) error { return errors.New("no") })
	w.tell("an STM that gives up", true, err)
	_, err = concurrency.NewSTM(w.client, func(s concurrency.STM) error { s.Del("stm/a"); return nil })
	w.tell("an STM that deletes", true, err)
}

func recipes(ctx context.Context, w *world) {
	q := recipe.NewQueue(w.client, "queue")
	for _, v := range []string{"one", "two"} {
		w.tell("enqueue "+v, true, q.Enqueue(v))
	}
	for range 2 {
		v, err := q.Dequeue()
		w.tell("dequeue", v, err)
	}
	p := recipe.NewPriorityQueue(w.client, "priorities")
	w.tell("enqueue late", true, p.Enqueue("late", 9))
	w.tell("enqueue early", true, p.Enqueue("early", 1))
	for range 2 {
		v, err := p.Dequeue()
		w.tell("dequeue by priority", v, err)
	}
	barrier := recipe.NewBarrier(w.client, "barrier")
	w.tell("hold", true, barrier.Hold())
	passed := make(chan error)
	go func() { passed <- recipe.NewBarrier(w.client, "barrier").Wait() }()
	select {
	case err := <-passed:
		w.tell("passed a closed barrier", true, err)
	case <-time.After(silence):
		w.tell("waits at the barrier", true, nil)
	}
	w.tell("release", true, barrier.Release())
	w.tell("passed", true, <-passed)
	s := w.session()
	defer s.Close()
	rw := recipe.NewRWMutex(s, "rw")
	w.tell("lock to read", true, rw.RLock())
	w.tell("unlock from reading", true, rw.RUnlock())
	w.tell("lock to write", true, rw.Lock())
	w.tell("unlock from writing", true, rw.Unlock())
}
