package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
)

// watchTimeoutSeconds is how long the server is asked to keep a watch.
const watchTimeoutSeconds = 5

func next(ctx context.Context, s watch.Interface) (watch.Event, error) {
	select {
	case e, open := <-s.ResultChan():
		if !open {
			return e, fmt.Errorf("the watch ended")
		}
		return e, nil
	case <-ctx.Done():
		return watch.Event{}, fmt.Errorf("the watch tells nothing more: %w", ctx.Err())
	}
}

// expect reads events of ConfigMaps and compares each with "TYPE name".
func expect(ctx context.Context, s watch.Interface, want ...string) error {
	for _, x := range want {
		e, err := next(ctx, s)
		if err != nil {
			return fmt.Errorf("want %s: %w", x, err)
		}
		m, ok := e.Object.(*corev1.ConfigMap)
		if !ok {
			return fmt.Errorf("want %s, got %s with %T %v", x, e.Type, e.Object, e.Object)
		}
		if err := differ("event", string(e.Type)+" "+m.Name, x); err != nil {
			return err
		}
	}
	return nil
}

// watches: from a version, from the start, through a selector's transitions, to a timeout; both encodings.
func watches(ctx context.Context, w *world) error {
	for name, c := range map[string]kubernetes.Interface{"protobuf": w.typed, "json": w.plain} {
		if err := watchBySelector(ctx, w, c, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := watchFrom(ctx, w); err != nil {
		return err
	}
	return watchToTimeout(ctx, w)
}

// watchBySelector: an object that comes to match is ADDED, one that ceases to is DELETED.
func watchBySelector(ctx context.Context, w *world, c kubernetes.Interface, name string) error {
	maps := c.CoreV1().ConfigMaps(w.ns)
	s, err := maps.Watch(ctx, metav1.ListOptions{LabelSelector: "on=yes,of=" + name})
	if err != nil {
		return err
	}
	defer s.Stop()
	m := configMap(name, nil)
	m.Labels = map[string]string{"of": name}
	if _, err := maps.Create(ctx, m, metav1.CreateOptions{}); err != nil {
		return err
	}
	for _, body := range []string{
		`{"metadata":{"labels":{"on":"yes"}}}`, `{"data":{"k":"v"}}`, `{"metadata":{"labels":{"on":"no"}}}`,
		`{"data":{"k":"unseen"}}`, `{"metadata":{"labels":{"on":"yes"}}}`,
	} {
		if _, err := maps.Patch(ctx, m.Name, types.MergePatchType, []byte(body), metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	if err := maps.Delete(ctx, m.Name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return expect(ctx, s, "ADDED "+m.Name, "MODIFIED "+m.Name, "DELETED "+m.Name, "ADDED "+m.Name, "DELETED "+m.Name)
}

// watchFrom: a version's watch tells what came after it; one without a version begins with what is there.
func watchFrom(ctx context.Context, w *world) error {
	maps := w.typed.CoreV1().ConfigMaps(w.ns)
	ours := metav1.ListOptions{LabelSelector: "mine"}
	var versions []string
	for _, name := range []string{"a", "b", "c"} {
		m := configMap(name, nil)
		m.Labels = map[string]string{"mine": ""}
		made, err := maps.Create(ctx, m, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		versions = append(versions, made.ResourceVersion)
	}
	for _, c := range []struct {
		version string
		want    []string
	}{
		{"", []string{"ADDED a", "ADDED b", "ADDED c", "ADDED d", "DELETED d"}},
		{"0", []string{"ADDED a", "ADDED b", "ADDED c", "ADDED d", "DELETED d"}},
		{versions[0], []string{"ADDED b", "ADDED c", "ADDED d", "DELETED d"}},
		{versions[2], []string{"ADDED d", "DELETED d"}},
	} {
		o := ours
		o.ResourceVersion = c.version
		s, err := maps.Watch(ctx, o)
		if err != nil {
			return fmt.Errorf("watch from %q: %w", c.version, err)
		}
		if err := expect(ctx, s, c.want[:len(c.want)-2]...); err != nil {
			return fmt.Errorf("watch from %q: %w", c.version, err)
		}
		d := configMap("d", nil)
		d.Labels = map[string]string{"mine": ""}
		if _, err := maps.Create(ctx, d, metav1.CreateOptions{}); err != nil {
			return err
		}
		if err := maps.Delete(ctx, "d", metav1.DeleteOptions{}); err != nil {
			return err
		}
		// From versions[0] on, the rounds before this one are told as well; only a fresh watch sees its own alone.
		if c.version == "" || c.version == "0" {
			if err := expect(ctx, s, c.want[len(c.want)-2:]...); err != nil {
				return fmt.Errorf("watch from %q: %w", c.version, err)
			}
		}
		s.Stop()
	}
	return nil
}

// watchToTimeout: the server ends a watch when its time is over, and a bookmark tells how far it was.
func watchToTimeout(ctx context.Context, w *world) error {
	maps := w.typed.CoreV1().ConfigMaps(w.ns)
	seconds := int64(watchTimeoutSeconds)
	l, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	began := time.Now()
	s, err := maps.Watch(ctx, metav1.ListOptions{
		ResourceVersion: l.ResourceVersion, TimeoutSeconds: &seconds, AllowWatchBookmarks: true,
	})
	if err != nil {
		return err
	}
	defer s.Stop()
	made, err := maps.Create(ctx, configMap("last", nil), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	var bookmark string
	for e := range s.ResultChan() {
		m, ok := e.Object.(*corev1.ConfigMap)
		if !ok {
			return fmt.Errorf("%s with %T %v", e.Type, e.Object, e.Object)
		}
		if e.Type == watch.Bookmark {
			bookmark = m.ResourceVersion
			if m.Name != "" || len(m.Data) != 0 {
				return fmt.Errorf("a bookmark is more than a version: %v", m)
			}
		}
	}
	took := time.Since(began)
	if took < (watchTimeoutSeconds-1)*time.Second || took > (watchTimeoutSeconds+3)*time.Second {
		return fmt.Errorf("a watch of %d s took %s", watchTimeoutSeconds, took)
	}
	reached, err := strconv.ParseUint(bookmark, 10, 64)
	if err != nil {
		return fmt.Errorf("no bookmark before the watch's end")
	}
	wrote, err := strconv.ParseUint(made.ResourceVersion, 10, 64)
	if err != nil || reached < wrote {
		return fmt.Errorf("bookmark %d, written %s", reached, made.ResourceVersion)
	}
	// From the bookmark on, nothing is told twice.
	again, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: bookmark})
	if err != nil {
		return err
	}
	defer again.Stop()
	if err := maps.Delete(ctx, "last", metav1.DeleteOptions{}); err != nil {
		return err
	}
	return expect(ctx, again, "DELETED last")
}

// versions: what resourceVersion and resourceVersionMatch mean on get and list.
func versions(ctx context.Context, w *world) error {
	maps := w.typed.CoreV1().ConfigMaps(w.ns)
	a, err := maps.Create(ctx, configMap("a", map[string]string{"n": "1"}), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	a2 := a.DeepCopy()
	a2.Data["n"] = "2"
	if a2, err = maps.Update(ctx, a2, metav1.UpdateOptions{}); err != nil {
		return err
	}
	only := func(version string, match metav1.ResourceVersionMatch) (*corev1.ConfigMapList, error) {
		return maps.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=a", ResourceVersion: version, ResourceVersionMatch: match})
	}
	for _, c := range []struct {
		version string
		match   metav1.ResourceVersionMatch
		want    string
	}{
		{"", "", "2"},
		{"0", "", "any"},
		{"0", metav1.ResourceVersionMatchNotOlderThan, "any"},
		{a2.ResourceVersion, "", "2"},
		{a2.ResourceVersion, metav1.ResourceVersionMatchNotOlderThan, "2"},
		{a2.ResourceVersion, metav1.ResourceVersionMatchExact, "2"},
		{a.ResourceVersion, metav1.ResourceVersionMatchNotOlderThan, "2"},
		{a.ResourceVersion, metav1.ResourceVersionMatchExact, "1"},
	} {
		what := fmt.Sprintf("list at %q %q", c.version, c.match)
		l, err := only(c.version, c.match)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if c.want == "any" {
			continue
		}
		if len(l.Items) != 1 || l.Items[0].Data["n"] != c.want {
			return fmt.Errorf("%s: want n=%s, got %v", what, c.want, l.Items)
		}
		if c.match == metav1.ResourceVersionMatchExact {
			if err := differ(what, l.ResourceVersion, c.version); err != nil {
				return err
			}
		}
	}
	for _, version := range []string{"", "0", a2.ResourceVersion} {
		m, err := maps.Get(ctx, "a", metav1.GetOptions{ResourceVersion: version})
		if err != nil {
			return fmt.Errorf("get at %q: %w", version, err)
		}
		if version != "0" && m.Data["n"] != "2" {
			return fmt.Errorf("get at %q: %v", version, m.Data)
		}
	}
	return versionsRefused(ctx, w, a2.ResourceVersion, only)
}

func versionsRefused(ctx context.Context, w *world, present string, only func(string, metav1.ResourceVersionMatch) (*corev1.ConfigMapList, error)) error {
	n, err := strconv.ParseUint(present, 10, 64)
	if err != nil {
		return err
	}
	future := strconv.FormatUint(n+1_000_000, 10)
	began := time.Now()
	// Without client-go's own retries, which the answer invites.
	err = w.typed.CoreV1().RESTClient().Get().Namespace(w.ns).Resource("configmaps").MaxRetries(0).
		VersionedParams(&metav1.ListOptions{ResourceVersion: future, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan}, scheme.ParameterCodec).
		Do(ctx).Error()
	s, err := refused("a list not older than a version to come", err, 504, metav1.StatusReasonTimeout)
	if err != nil {
		return err
	}
	if took := time.Since(began); took < 2*time.Second || took > 10*time.Second {
		return fmt.Errorf("a version to come was waited for %s", took)
	}
	if s.Details == nil || s.Details.RetryAfterSeconds != 1 || len(s.Details.Causes) != 1 || s.Details.Causes[0].Type != metav1.CauseTypeResourceVersionTooLarge {
		return fmt.Errorf("a version to come: details %v", s.Details)
	}
	err = w.typed.CoreV1().RESTClient().Get().Namespace(w.ns).Resource("configmaps").Name("a").MaxRetries(0).
		VersionedParams(&metav1.GetOptions{ResourceVersion: future}, scheme.ParameterCodec).Do(ctx).Error()
	if _, err := refused("a get of a version to come", err, 504, metav1.StatusReasonTimeout); err != nil {
		return err
	}
	_, err = only("", metav1.ResourceVersionMatchExact)
	if _, err := refused("a match without a version", err, 422, metav1.StatusReasonInvalid); err != nil {
		return err
	}
	_, err = only("0", metav1.ResourceVersionMatchExact)
	if _, err := refused("exactly version 0", err, 422, metav1.StatusReasonInvalid); err != nil {
		return err
	}
	_, err = only(present, "Sometimes")
	if _, err := refused("an unknown match", err, 422, metav1.StatusReasonInvalid); err != nil {
		return err
	}
	_, err = only("yesterday", "")
	if err == nil {
		return fmt.Errorf("a version that is no number is accepted")
	}
	return nil
}
