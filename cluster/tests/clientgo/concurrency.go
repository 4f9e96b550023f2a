package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
)

const (
	writers = 20
	// increments by each writer.
	increments = 5
)

// concurrency: of two updates of one version one conflicts, and writers who retry lose no increment.
func concurrency(ctx context.Context, w *world) error {
	maps := w.typed.CoreV1().ConfigMaps(w.ns)
	read, err := maps.Create(ctx, configMap("counter", map[string]string{"n": "0"}), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	outcomes := make(chan error, 2)
	for n := range 2 {
		mine := read.DeepCopy()
		mine.Data["by"] = fmt.Sprint(n)
		go func() {
			_, err := maps.Update(ctx, mine, metav1.UpdateOptions{})
			outcomes <- err
		}()
	}
	first, second := <-outcomes, <-outcomes
	if first != nil {
		first, second = second, first
	}
	if first != nil {
		return fmt.Errorf("both updates failed: %w, %w", first, second)
	}
	s, err := refused("the second update", second, 409, metav1.StatusReasonConflict)
	if err != nil {
		return err
	}
	want := `Operation cannot be fulfilled on configmaps "counter": the object has been modified; please apply your changes to the latest version and try again`
	if err := differ("message of a conflict", s.Message, want); err != nil {
		return err
	}
	if err := preconditions(ctx, w); err != nil {
		return err
	}
	return count(ctx, w)
}

func preconditions(ctx context.Context, w *world) error {
	maps := w.typed.CoreV1().ConfigMaps(w.ns)
	other := types.UID("00000000-0000-0000-0000-000000000000")
	err := maps.Delete(ctx, "counter", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &other}})
	if _, err := refused("delete with another uid", err, 409, metav1.StatusReasonConflict); err != nil {
		return err
	}
	old := "1"
	err = maps.Delete(ctx, "counter", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &old}})
	if _, err := refused("delete of an old version", err, 409, metav1.StatusReasonConflict); err != nil {
		return err
	}
	_, err = maps.Create(ctx, configMap("counter", nil), metav1.CreateOptions{})
	_, err = refused("create what is there", err, 409, metav1.StatusReasonAlreadyExists)
	return err
}

func count(ctx context.Context, w *world) error {
	maps := w.typed.CoreV1().ConfigMaps(w.ns)
	// Twenty writers collide far more often than retry.DefaultRetry allows for.
	patience := wait.Backoff{Steps: 500, Duration: 5 * time.Millisecond, Factor: 1, Jitter: 2}
	failures := make(chan error, writers)
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range increments {
				err := retry.RetryOnConflict(patience, func() error {
					m, err := maps.Get(ctx, "counter", metav1.GetOptions{})
					if err != nil {
						return err
					}
					n, err := strconv.Atoi(m.Data["n"])
					if err != nil {
						return err
					}
					m.Data["n"] = strconv.Itoa(n + 1)
					_, err = maps.Update(ctx, m, metav1.UpdateOptions{})
					return err
				})
				if err != nil {
					failures <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failures)
	for err := range failures {
		return fmt.Errorf("increment: %w", err)
	}
	m, err := maps.Get(ctx, "counter", metav1.GetOptions{})
	if err != nil {
		return err
	}
	return differ("counter", m.Data["n"], writers*increments)
}

// candidate runs for leader until its context ends, and says when it leads.
func candidate(ctx context.Context, w *world, id string) (leads <-chan struct{}, ended <-chan struct{}, err error) {
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, w.ns, "election", w.typed.CoreV1(), w.typed.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: id})
	if err != nil {
		return nil, nil, err
	}
	leading, over := make(chan struct{}), make(chan struct{})
	e, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: 6 * time.Second, RenewDeadline: 4 * time.Second, RetryPeriod: 250 * time.Millisecond,
		ReleaseOnCancel: true, Name: id,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { close(leading) },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return nil, nil, err
	}
	go func() {
		defer close(over)
		e.Run(ctx)
	}()
	return leading, over, nil
}

// leaderElection: of two candidates one leads; when it steps down the other takes over at once.
func leaderElection(ctx context.Context, w *world) error {
	ctxA, stopA := context.WithCancel(ctx)
	defer stopA()
	ctxB, stopB := context.WithCancel(ctx)
	defer stopB()
	leadsA, endedA, err := candidate(ctxA, w, "a")
	if err != nil {
		return err
	}
	select {
	case <-leadsA:
	case <-time.After(10 * time.Second):
		return fmt.Errorf("the only candidate does not lead within 10 s")
	}
	leadsB, endedB, err := candidate(ctxB, w, "b")
	if err != nil {
		return err
	}
	// b must stay in line through more than a lease's duration of a's renewals.
	select {
	case <-leadsB:
		return fmt.Errorf("b leads while a does")
	case <-endedA:
		return fmt.Errorf("a lost its lease")
	case <-time.After(8 * time.Second):
	}
	leases := w.typed.CoordinationV1().Leases(w.ns)
	held, err := leases.Get(ctx, "election", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if held.Spec.HolderIdentity == nil || *held.Spec.HolderIdentity != "a" {
		return fmt.Errorf("holder: %v", held.Spec.HolderIdentity)
	}
	if held.Spec.RenewTime == nil || held.Spec.AcquireTime == nil || !held.Spec.RenewTime.After(held.Spec.AcquireTime.Time) {
		return fmt.Errorf("renewed %v, acquired %v", held.Spec.RenewTime, held.Spec.AcquireTime)
	}
	stopA()
	select {
	case <-leadsB:
	case <-time.After(5 * time.Second):
		return fmt.Errorf("b does not lead 5 s after a stepped down")
	}
	held, err = leases.Get(ctx, "election", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if held.Spec.HolderIdentity == nil || *held.Spec.HolderIdentity != "b" || held.Spec.LeaseTransitions == nil || *held.Spec.LeaseTransitions < 1 {
		return fmt.Errorf("after the hand-over: holder %v, transitions %v", held.Spec.HolderIdentity, held.Spec.LeaseTransitions)
	}
	stopB()
	for _, ended := range []<-chan struct{}{endedA, endedB} {
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			return fmt.Errorf("an elector does not end")
		}
	}
	return nil
}
