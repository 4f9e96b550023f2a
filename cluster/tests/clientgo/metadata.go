package main

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
)

// kindsCompared are resources of both scopes and of several groups.
var kindsCompared = []schema.GroupVersionResource{
	{Version: "v1", Resource: "namespaces"},
	{Version: "v1", Resource: "configmaps"},
	{Version: "v1", Resource: "serviceaccounts"},
	{Version: "v1", Resource: "services"},
	{Version: "v1", Resource: "pods"},
	{Version: "v1", Resource: "nodes"},
	{Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "apps", Version: "v1", Resource: "replicasets"},
	{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
}

func pathOf(r schema.GroupVersionResource) string {
	if r.Group == "" {
		return "/api/v1/" + r.Resource
	}
	return "/apis/" + r.Group + "/" + r.Version + "/" + r.Resource
}

// metadataAndDynamic: metadata-only and dynamic informers see what a typed list sees, as garbage collectors and
// operators use them.
func metadataAndDynamic(ctx context.Context, w *world) error {
	for i := range 5 {
		m := configMap(fmt.Sprintf("m-%d", i), map[string]string{"k": "v"})
		m.Labels = map[string]string{"app": "x"}
		if _, err := w.typed.CoreV1().ConfigMaps(w.ns).Create(ctx, m, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	slim, err := metadata.NewForConfig(w.config)
	if err != nil {
		return err
	}
	loose, err := dynamic.NewForConfig(w.config)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	slimF := metadatainformer.NewSharedInformerFactory(slim, 0)
	looseF := dynamicinformer.NewDynamicSharedInformerFactory(loose, 0)
	defer slimF.Shutdown()
	defer looseF.Shutdown()
	defer stop()
	type pair struct{ slim, loose informers.GenericInformer }
	pairs := map[schema.GroupVersionResource]pair{}
	for _, r := range kindsCompared {
		p := pair{slimF.ForResource(r), looseF.ForResource(r)}
		p.slim.Informer()
		p.loose.Informer()
		pairs[r] = p
	}
	slimF.Start(ctx.Done())
	looseF.Start(ctx.Done())
	bounded, cancel := context.WithTimeout(ctx, syncBound)
	defer cancel()
	for r, p := range pairs {
		if !cache.WaitForCacheSync(bounded.Done(), p.slim.Informer().HasSynced, p.loose.Informer().HasSynced) {
			return fmt.Errorf("informers on %s have not synced within %s", r.Resource, syncBound)
		}
	}
	for _, r := range kindsCompared {
		p := pairs[r]
		err := eventually(ctx, r.Resource, syncBound, func() error {
			want, err := namesOf(ctx, w, r)
			if err != nil {
				return err
			}
			if err := differ("metadata informer", lines(keys(p.slim.Informer())), lines(want)); err != nil {
				return err
			}
			return differ("dynamic informer", lines(keys(p.loose.Informer())), lines(want))
		})
		if err != nil {
			return err
		}
	}
	if err := slimObjects(ctx, w, slim, pairs[kindsCompared[1]].slim); err != nil {
		return err
	}
	streams := w.seen.find(func(e exchange) bool {
		return strings.Contains(e.accept, "PartialObjectMetadata") && strings.Contains(e.query, "sendInitialEvents=true")
	})
	if len(streams) != len(kindsCompared) {
		return fmt.Errorf("metadata streams: got %d, want %d", len(streams), len(kindsCompared))
	}
	for _, s := range streams {
		if s.status != 200 || !strings.HasPrefix(s.contentType, protobuf) {
			return fmt.Errorf("metadata stream of %s: %d %s", s.path, s.status, s.contentType)
		}
	}
	return nil
}

// namesOf reads in JSON: the list is in neither informer's encoding.
func namesOf(ctx context.Context, w *world, r schema.GroupVersionResource) ([]string, error) {
	got, err := w.plain.CoreV1().RESTClient().Get().AbsPath(pathOf(r)).Do(ctx).Get()
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", r.Resource, err)
	}
	items, err := meta.ExtractList(got)
	if err != nil {
		return nil, err
	}
	all := make([]string, 0, len(items))
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

// slimObjects: a metadata-only object has its metadata whole, by informer, get and list, and obeys patch and delete.
func slimObjects(ctx context.Context, w *world, slim metadata.Interface, i informers.GenericInformer) error {
	want, err := w.typed.CoreV1().ConfigMaps(w.ns).Get(ctx, "m-0", metav1.GetOptions{})
	if err != nil {
		return err
	}
	maps := slim.Resource(kindsCompared[1]).Namespace(w.ns)
	got, err := maps.Get(ctx, "m-0", metav1.GetOptions{})
	if err != nil {
		return err
	}
	// The managed fields' order in a map is not fixed by the wire; everything else is compared whole.
	got.ManagedFields, want.ManagedFields = nil, nil
	if err := differ("metadata of a get", got.ObjectMeta.String(), want.ObjectMeta.String()); err != nil {
		return err
	}
	held, err := i.Lister().ByNamespace(w.ns).Get("m-0")
	if err != nil {
		return err
	}
	m, ok := held.(*metav1.PartialObjectMetadata)
	if !ok {
		return fmt.Errorf("informer holds %T", held)
	}
	if err := differ("informer's labels", m.Labels, want.Labels); err != nil {
		return err
	}
	if err := differ("informer's version", m.ResourceVersion, want.ResourceVersion); err != nil {
		return err
	}
	if err := maps.Delete(ctx, "m-0", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &want.UID}}); err != nil {
		return err
	}
	return eventually(ctx, "the metadata informer forgets", syncBound, func() error {
		if _, err := i.Lister().ByNamespace(w.ns).Get("m-0"); err == nil {
			return fmt.Errorf("m-0 is still held")
		}
		return nil
	})
}
