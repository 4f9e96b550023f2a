package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os/exec"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

const paged = 7

func mapNames(items []corev1.ConfigMap) []string {
	var all []string
	for _, m := range items {
		all = append(all, m.Name)
	}
	return all
}

func fill(ctx context.Context, w *world) error {
	for i := range paged {
		m := configMap(fmt.Sprintf("p-%d", i), map[string]string{"k": "v"})
		m.Labels = map[string]string{"half": fmt.Sprint(i % 2)}
		if _, err := w.typed.CoreV1().ConfigMaps(w.ns).Create(ctx, m, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	// The namespace's own ConfigMap comes in the background; a page must not change under it.
	return eventually(ctx, "kube-root-ca.crt", syncBound, func() error {
		_, err := w.typed.CoreV1().ConfigMaps(w.ns).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err
	})
}

// paging: pages together are the whole list, at one version, whatever is written in between.
func paging(ctx context.Context, w *world) error {
	if err := fill(ctx, w); err != nil {
		return err
	}
	maps := w.typed.CoreV1().ConfigMaps(w.ns)
	whole, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	names := mapNames(whole.Items)
	if !sort.StringsAreSorted(names) || len(names) != paged+1 {
		return fmt.Errorf("whole list: %v", names)
	}
	if whole.Continue != "" || whole.RemainingItemCount != nil {
		return fmt.Errorf("whole list has continue %q, remaining %v", whole.Continue, whole.RemainingItemCount)
	}
	var got []string
	var version string
	o := metav1.ListOptions{Limit: 2}
	for page := 0; ; page++ {
		l, err := maps.List(ctx, o)
		if err != nil {
			return fmt.Errorf("page %d: %w", page, err)
		}
		got = append(got, mapNames(l.Items)...)
		if page == 0 {
			version = l.ResourceVersion
			// Neither a new object nor a deleted one moves the pages that follow.
			if _, err := maps.Create(ctx, configMap("p-3-new", nil), metav1.CreateOptions{}); err != nil {
				return err
			}
			if err := maps.Delete(ctx, "p-6", metav1.DeleteOptions{}); err != nil {
				return err
			}
		}
		if err := differ(fmt.Sprintf("version of page %d", page), l.ResourceVersion, version); err != nil {
			return err
		}
		if l.Continue == "" {
			if l.RemainingItemCount != nil {
				return fmt.Errorf("last page has remainingItemCount %d", *l.RemainingItemCount)
			}
			break
		}
		if l.RemainingItemCount == nil {
			return fmt.Errorf("page %d has no remainingItemCount", page)
		}
		if err := differ(fmt.Sprintf("remainingItemCount of page %d", page), *l.RemainingItemCount, len(names)-len(got)); err != nil {
			return err
		}
		if len(l.Items) != 2 {
			return fmt.Errorf("page %d has %d items", page, len(l.Items))
		}
		o.Continue = l.Continue
	}
	if err := differ("pages together", got, names); err != nil {
		return err
	}
	return pageEdges(ctx, w)
}

func pageEdges(ctx context.Context, w *world) error {
	maps := w.typed.CoreV1().ConfigMaps(w.ns)
	// With a selector the server does not know what remains.
	l, err := maps.List(ctx, metav1.ListOptions{Limit: 1, LabelSelector: "half=1"})
	if err != nil {
		return err
	}
	if len(l.Items) != 1 || l.Continue == "" || l.RemainingItemCount != nil {
		return fmt.Errorf("page with a selector: %d items, continue %q, remaining %v", len(l.Items), l.Continue, l.RemainingItemCount)
	}
	all := mapNames(l.Items)
	for l.Continue != "" {
		if l, err = maps.List(ctx, metav1.ListOptions{Limit: 1, LabelSelector: "half=1", Continue: l.Continue}); err != nil {
			return err
		}
		all = append(all, mapNames(l.Items)...)
	}
	if err := differ("pages with a selector", all, []string{"p-1", "p-3", "p-5"}); err != nil {
		return err
	}
	_, err = maps.List(ctx, metav1.ListOptions{Limit: 2, Continue: "no token"})
	if _, err := refused("a continue token that is none", err, 400, metav1.StatusReasonBadRequest); err != nil {
		return err
	}
	l, err = maps.List(ctx, metav1.ListOptions{Limit: 2})
	if err != nil {
		return err
	}
	_, err = maps.List(ctx, metav1.ListOptions{Limit: 2, Continue: l.Continue, ResourceVersion: l.ResourceVersion})
	if err == nil || !apierrors.IsBadRequest(err) && !apierrors.IsInvalid(err) {
		return fmt.Errorf("continue with a resourceVersion: %v", err)
	}
	return nil
}

// expired: what was compacted away gets 410 Expired, with a token to go on at the present.
func expired(ctx context.Context, w *world) error {
	if len(w.compact) == 0 {
		return fmt.Errorf("needs --compact")
	}
	if err := fill(ctx, w); err != nil {
		return err
	}
	maps := w.typed.CoreV1().ConfigMaps(w.ns)
	first, err := maps.List(ctx, metav1.ListOptions{Limit: 2})
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, w.compact[0], append(w.compact[1:], first.ResourceVersion)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(w.compact, " "), err, out)
	}
	// A server may hold on to a recent page's state in memory, so the token is made to name an old one.
	token, err := aged(first.Continue)
	if err != nil {
		return err
	}
	_, err = maps.List(ctx, metav1.ListOptions{Limit: 2, Continue: token})
	status, err := refused("a continue token of a compacted version", err, 410, metav1.StatusReasonExpired)
	if err != nil {
		return err
	}
	if status.ListMeta.Continue == "" {
		return fmt.Errorf("410 brings no token to go on with: %s", status.Message)
	}
	rest, err := maps.List(ctx, metav1.ListOptions{Continue: status.ListMeta.Continue})
	if err != nil {
		return fmt.Errorf("go on inconsistently: %w", err)
	}
	got := append(mapNames(first.Items), mapNames(rest.Items)...)
	whole, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if err := differ("first page and inconsistent rest", got, mapNames(whole.Items)); err != nil {
		return err
	}
	_, err = maps.List(ctx, metav1.ListOptions{ResourceVersion: "1", ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	if _, err := refused("a list at a compacted version", err, 410, metav1.StatusReasonExpired); err != nil {
		return err
	}
	return expiredWatch(ctx, w)
}

// expiredWatch: client-go wants 410 either as the answer or as the stream's first event; a server that still
// remembers may tell the events instead, from the first one on.
func expiredWatch(ctx context.Context, w *world) error {
	stream, err := w.typed.CoreV1().ConfigMaps(w.ns).Watch(ctx, metav1.ListOptions{ResourceVersion: "1", LabelSelector: "half"})
	if err != nil {
		_, err = refused("a watch from a compacted version", err, 410, metav1.StatusReasonExpired)
		return err
	}
	defer stream.Stop()
	e, err := next(ctx, stream)
	if err != nil {
		return err
	}
	if e.Type == watch.Error {
		_, err := refused("a watch from a compacted version", apierrors.FromObject(e.Object), 410, metav1.StatusReasonExpired)
		return err
	}
	m, ok := e.Object.(*corev1.ConfigMap)
	if !ok {
		return fmt.Errorf("a watch from a compacted version begins with %s of %T", e.Type, e.Object)
	}
	return differ("a remembered watch begins with", string(e.Type)+" "+m.Name, "ADDED p-0")
}

// aged rewrites the version in a continue token (upstream's form, apiserver/pkg/storage/continue.go) to 1.
func aged(token string) (string, error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", fmt.Errorf("continue token %q: %w", token, err)
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return "", fmt.Errorf("continue token %s: %w", raw, err)
	}
	if fields["v"] != "meta.k8s.io/v1" || fields["rv"] == nil {
		return "", fmt.Errorf("continue token %s is not of upstream's form", raw)
	}
	fields["rv"] = 1
	if raw, err = json.Marshal(fields); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}
