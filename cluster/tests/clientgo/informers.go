package main

import (
	"context"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// syncBound is how long the first sync of all informers may take.
const syncBound = 10 * time.Second

// watched are the informers of a cluster-wide program, and the paths that they watch.
func watched(f informers.SharedInformerFactory) map[string]cache.SharedIndexInformer {
	return map[string]cache.SharedIndexInformer{
		"/api/v1/pods":              f.Core().V1().Pods().Informer(),
		"/api/v1/configmaps":        f.Core().V1().ConfigMaps().Informer(),
		"/api/v1/services":          f.Core().V1().Services().Informer(),
		"/api/v1/events":            f.Core().V1().Events().Informer(),
		"/api/v1/nodes":             f.Core().V1().Nodes().Informer(),
		"/apis/apps/v1/deployments": f.Apps().V1().Deployments().Informer(),
	}
}

// start runs the informers and waits until all have synced.
func start(ctx context.Context, f informers.SharedInformerFactory, all map[string]cache.SharedIndexInformer) error {
	f.Start(ctx.Done())
	bounded, cancel := context.WithTimeout(ctx, syncBound)
	defer cancel()
	for path, i := range all {
		if !cache.WaitForCacheSync(bounded.Done(), i.HasSynced) {
			return fmt.Errorf("informer on %s has not synced within %s", path, syncBound)
		}
	}
	return nil
}

func keys(i cache.SharedIndexInformer) []string {
	all := i.GetStore().ListKeys()
	sort.Strings(all)
	return all
}

// informersSync: informers take the WatchList road over protobuf, and hold what a list holds.
func informersSync(ctx context.Context, w *world) error {
	for i := range 5 {
		m := configMap(fmt.Sprintf("before-%d", i), map[string]string{"k": "v"})
		if _, err := w.typed.CoreV1().ConfigMaps(w.ns).Create(ctx, m, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	ctx, stop := context.WithCancel(ctx)
	f := informers.NewSharedInformerFactory(w.typed, 0)
	defer f.Shutdown()
	defer stop()
	all := watched(f)
	if err := start(ctx, f, all); err != nil {
		return err
	}
	for path := range all {
		if err := tookWatchList(w.seen, path); err != nil {
			return err
		}
	}
	return eventually(ctx, "informers hold what lists hold", syncBound, func() error {
		for path, i := range all {
			want, err := listed(ctx, w, path)
			if err != nil {
				return err
			}
			if err := differ(path, lines(keys(i)), lines(want)); err != nil {
				return err
			}
		}
		return nil
	})
}

func tookWatchList(seen *recorder, path string) error {
	streams := seen.find(func(e exchange) bool {
		return e.path == path && strings.Contains(e.query, "sendInitialEvents=true")
	})
	if len(streams) != 1 {
		return fmt.Errorf("%s: want one watch with initial events, got %v", path, streams)
	}
	s := streams[0]
	if s.status != 200 || !strings.HasPrefix(s.contentType, protobuf) {
		return fmt.Errorf("%s: want 200 and %s, got %d %s", path, protobuf, s.status, s.contentType)
	}
	// A list is what client-go falls back to when the stream was not what it should be.
	lists := seen.find(func(e exchange) bool { return e.path == path && !strings.Contains(e.query, "watch=true") })
	if len(lists) != 0 {
		return fmt.Errorf("%s: the informer fell back to a list: %v", path, lists)
	}
	return nil
}

// listed are the keys of a typed list, as an informer's store would name them.
func listed(ctx context.Context, w *world, path string) ([]string, error) {
	r := w.typed.CoreV1().RESTClient()
	if strings.HasPrefix(path, "/apis/apps") {
		r = w.typed.AppsV1().RESTClient()
	}
	got, err := r.Get().AbsPath(path).Do(ctx).Get()
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	items, err := meta.ExtractList(got)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, item := range items {
		key, err := cache.MetaNamespaceKeyFunc(item)
		if err != nil {
			return nil, err
		}
		all = append(all, key)
	}
	sort.Strings(all)
	return all, nil
}

// printNames writes what the informers hold, a line each, for a comparison with kubectl.
func printNames(ctx context.Context, w *world) error {
	ctx, stop := context.WithCancel(ctx)
	f := informers.NewSharedInformerFactory(w.typed, 0)
	defer f.Shutdown()
	defer stop()
	all := watched(f)
	if err := start(ctx, f, all); err != nil {
		return err
	}
	var out []string
	for path, i := range all {
		resource := path[strings.LastIndex(path, "/")+1:]
		for _, k := range keys(i) {
			// Namespaces of scenarios go away while the reader looks.
			if !strings.HasPrefix(k, "clientgo-") {
				out = append(out, resource+" "+k)
			}
		}
	}
	sort.Strings(out)
	fmt.Println(lines(out))
	return nil
}

// change is a write, as its answer told it, or an event.
type change struct {
	kind watch.EventType
	name string
	rv   string
}

// notices gathers what an informer tells.
type notices struct {
	mu  sync.Mutex
	all []change
}

func (n *notices) add(kind watch.EventType, object any) {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		n.push(change{"LOST", gone.Key, ""})
		return
	}
	m := object.(*corev1.ConfigMap)
	if m.Name != "kube-root-ca.crt" {
		n.push(change{kind, m.Name, m.ResourceVersion})
	}
}

func (n *notices) push(c change) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, c)
}

func (n *notices) copy() []change {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]change(nil), n.all...)
}

// informerEvents: an informer tells exactly the writes, in their order, once each, with the versions that the
// writers were answered; so does a plain watch.
func informerEvents(ctx context.Context, w *world) error {
	ctx, stop := context.WithCancel(ctx)
	f := informers.NewSharedInformerFactoryWithOptions(w.typed, 0, informers.WithNamespace(w.ns))
	defer f.Shutdown()
	defer stop()
	i := f.Core().V1().ConfigMaps().Informer()
	var told notices
	_, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { told.add(watch.Added, o) },
		UpdateFunc: func(_, o any) { told.add(watch.Modified, o) },
		DeleteFunc: func(o any) { told.add(watch.Deleted, o) },
	})
	if err != nil {
		return err
	}
	if err := start(ctx, f, map[string]cache.SharedIndexInformer{"configmaps": i}); err != nil {
		return err
	}
	stream, err := w.plain.CoreV1().ConfigMaps(w.ns).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name!=kube-root-ca.crt"})
	if err != nil {
		return err
	}
	defer stream.Stop()
	done, err := writes(ctx, w)
	if err != nil {
		return err
	}
	err = eventually(ctx, "the informer tells every write", syncBound, func() error {
		return differ("events", len(told.copy()), len(done))
	})
	if err != nil {
		return err
	}
	if err := same("informer", told.copy(), done); err != nil {
		return err
	}
	var raw []change
	for len(raw) < len(done) {
		select {
		case e, open := <-stream.ResultChan():
			if !open {
				return fmt.Errorf("the watch ended after %d events of %d", len(raw), len(done))
			}
			m, ok := e.Object.(*corev1.ConfigMap)
			if !ok {
				return fmt.Errorf("watch: %s with %T: %v", e.Type, e.Object, e.Object)
			}
			raw = append(raw, change{e.Type, m.Name, m.ResourceVersion})
		case <-ctx.Done():
			return fmt.Errorf("the watch told %d events of %d", len(raw), len(done))
		}
	}
	return same("watch", raw, done)
}

// same checks events against writes. A deletion's answer does not tell its version; it must be a later one.
func same(who string, got, want []change) error {
	var last uint64
	for n := range min(len(got), len(want)) {
		g, w := got[n], want[n]
		if w.rv == "" {
			w.rv = g.rv
		}
		if err := differ(fmt.Sprintf("%s: event %d", who, n), g, w); err != nil {
			return err
		}
		version, err := strconv.ParseUint(g.rv, 10, 64)
		if err != nil || version <= last {
			return fmt.Errorf("%s: event %d has version %q after %d", who, n, g.rv, last)
		}
		last = version
	}
	return differ(who+": events", len(got), len(want))
}

// writes creates, updates twice and deletes ConfigMaps, interleaved, and returns the answers.
func writes(ctx context.Context, w *world) ([]change, error) {
	const count = 20
	var done []change
	maps := w.typed.CoreV1().ConfigMaps(w.ns)
	held := make([]*corev1.ConfigMap, count)
	for n := range count {
		m, err := maps.Create(ctx, configMap(fmt.Sprintf("m-%02d", n), map[string]string{"n": "0"}), metav1.CreateOptions{})
		if err != nil {
			return nil, err
		}
		held[n] = m
		done = append(done, change{watch.Added, m.Name, m.ResourceVersion})
	}
	for round := range 2 {
		for n := range held {
			held[n].Data["n"] = fmt.Sprint(round + 1)
			m, err := maps.Update(ctx, held[n], metav1.UpdateOptions{})
			if err != nil {
				return nil, err
			}
			held[n] = m
			done = append(done, change{watch.Modified, m.Name, m.ResourceVersion})
		}
		// A write that changes nothing is no event.
		if _, err := maps.Update(ctx, held[0], metav1.UpdateOptions{}); err != nil {
			return nil, err
		}
	}
	for n := range held {
		if err := maps.Delete(ctx, held[n].Name, metav1.DeleteOptions{}); err != nil {
			return nil, err
		}
		done = append(done, change{watch.Deleted, held[n].Name, ""})
	}
	return done, nil
}
