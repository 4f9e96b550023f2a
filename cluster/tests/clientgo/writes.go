package main

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func deployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	none := int32(0)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: &none,
			// Paused, so that no controller's annotations move the generation.
			Paused:   true,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{
					{Name: "one", Image: "localhost/one:1", Env: []corev1.EnvVar{{Name: "A", Value: "1"}}},
					{Name: "two", Image: "localhost/two:1"},
				}},
			},
		},
	}
}

// unchanged: a patch that changes nothing writes nothing. On a kind that no controller touches.
func unchanged(ctx context.Context, w *world) error {
	maps := w.typed.CoreV1().ConfigMaps(w.ns)
	before, err := maps.Create(ctx, configMap("same", map[string]string{"k": "v"}), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	after, err := maps.Patch(ctx, "same", types.MergePatchType, []byte(`{"data":{"k":"v"}}`), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	return differ("after a patch that changes nothing", after.String(), before.String())
}

// patches: JSON, merge and strategic merge patch, with what each is refused for.
func patches(ctx context.Context, w *world) error {
	if err := unchanged(ctx, w); err != nil {
		return err
	}
	all := w.typed.AppsV1().Deployments(w.ns)
	if _, err := all.Create(ctx, deployment("d"), metav1.CreateOptions{}); err != nil {
		return err
	}
	patch := func(kind types.PatchType, body string, sub ...string) (*appsv1.Deployment, error) {
		return all.Patch(ctx, "d", kind, []byte(body), metav1.PatchOptions{}, sub...)
	}
	// Strategic: containers merge by name, env by name, and $patch deletes.
	d, err := patch(types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"one","env":[{"name":"B","value":"2"}]},{"name":"two","$patch":"delete"},{"name":"three","image":"localhost/three:1"}]}}}}`)
	if err != nil {
		return fmt.Errorf("strategic merge patch: %w", err)
	}
	if err := differ("strategic merge patch", containers(d), "one[B=2 A=1] three[]"); err != nil {
		// Upstream puts what the patch brings first and keeps what was there; the set is what counts.
		if again := differ("strategic merge patch", containers(d), "one[A=1 B=2] three[]"); again != nil {
			if third := differ("strategic merge patch", containers(d), "three[] one[B=2 A=1]"); third != nil {
				return err
			}
		}
	}
	if err := differ("generation after a spec's change", d.Generation, 2); err != nil {
		return err
	}
	// Merge: null deletes, lists are replaced.
	d, err = patch(types.MergePatchType, `{"metadata":{"labels":{"app":null,"x":"y"}},"spec":{"template":{"spec":{"containers":[{"name":"only","image":"localhost/only:1"}]}}}}`)
	if err != nil {
		return fmt.Errorf("merge patch: %w", err)
	}
	if err := differ("merge patch", containers(d), "only[]"); err != nil {
		return err
	}
	if err := differ("labels after a merge patch", d.Labels, map[string]string{"x": "y"}); err != nil {
		return err
	}
	// JSON: operations in order, all or none.
	d, err = patch(types.JSONPatchType, `[{"op":"test","path":"/metadata/labels/x","value":"y"},{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"localhost/only:2"},{"op":"add","path":"/metadata/annotations","value":{"a/b":"c"}},{"op":"copy","from":"/metadata/annotations/a~1b","path":"/metadata/labels/copied"}]`)
	if err != nil {
		return fmt.Errorf("JSON patch: %w", err)
	}
	if d.Labels["copied"] != "c" || d.Spec.Template.Spec.Containers[0].Image != "localhost/only:2" {
		return fmt.Errorf("JSON patch: %v %v", d.Labels, containers(d))
	}
	generation := d.Generation
	if d, err = patch(types.MergePatchType, `{"status":{"replicas":9},"spec":{"replicas":0}}`, "status"); err != nil {
		return fmt.Errorf("patch of status: %w", err)
	}
	if err := differ("generation after a status patch", d.Generation, generation); err != nil {
		return err
	}
	return patchesRefused(ctx, w, patch)
}

func containers(d *appsv1.Deployment) string {
	var all []string
	for _, c := range d.Spec.Template.Spec.Containers {
		var env []string
		for _, e := range c.Env {
			env = append(env, e.Name+"="+e.Value)
		}
		all = append(all, c.Name+"["+strings.Join(env, " ")+"]")
	}
	return strings.Join(all, " ")
}

func patchesRefused(ctx context.Context, w *world, patch func(types.PatchType, string, ...string) (*appsv1.Deployment, error)) error {
	_, err := patch(types.JSONPatchType, `[{"op":"test","path":"/metadata/labels/x","value":"z"}]`)
	if _, err := refused("a JSON patch whose test fails", err, 422, metav1.StatusReasonInvalid); err != nil {
		return err
	}
	_, err = patch(types.MergePatchType, `{"metadata":{"resourceVersion":"1","labels":{"x":"z"}}}`)
	if _, err := refused("a patch of an old version", err, 409, metav1.StatusReasonConflict); err != nil {
		return err
	}
	_, err = patch(types.MergePatchType, `{"spec":{"selector":{"matchLabels":{"app":"other"}}}}`)
	if _, err := refused("a patch of what is immutable", err, 422, metav1.StatusReasonInvalid); err != nil {
		return err
	}
	_, err = patch(types.MergePatchType, `{"spec":`)
	if _, err := refused("a patch that is no JSON", err, 400, metav1.StatusReasonBadRequest); err != nil {
		return err
	}
	_, err = patch("application/unheard-of", `{}`)
	if _, err := refused("a patch of an unknown type", err, 415, metav1.StatusReasonUnsupportedMediaType); err != nil {
		return err
	}
	_, err = w.typed.CoreV1().ConfigMaps(w.ns).Patch(ctx, "absent", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{})
	_, err = refused("a patch of what is not there", err, 404, metav1.StatusReasonNotFound)
	return err
}

// dryRun: every verb answers as if, and nothing is stored.
func dryRun(ctx context.Context, w *world) error {
	maps := w.typed.CoreV1().ConfigMaps(w.ns)
	all := []string{metav1.DryRunAll}
	m, err := maps.Create(ctx, configMap("dry", map[string]string{"k": "v"}), metav1.CreateOptions{DryRun: all})
	if err != nil {
		return err
	}
	if m.UID == "" || m.ResourceVersion != "" || m.CreationTimestamp.IsZero() {
		return fmt.Errorf("dry create answers uid %q, version %q, created %v", m.UID, m.ResourceVersion, m.CreationTimestamp)
	}
	if _, err := maps.Get(ctx, "dry", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("after a dry create: %v", err)
	}
	held, err := maps.Create(ctx, configMap("wet", map[string]string{"k": "v"}), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = maps.Create(ctx, configMap("wet", nil), metav1.CreateOptions{DryRun: all})
	if _, err := refused("dry create of what is there", err, 409, metav1.StatusReasonAlreadyExists); err != nil {
		return err
	}
	changed := held.DeepCopy()
	changed.Data["k"] = "w"
	if m, err = maps.Update(ctx, changed, metav1.UpdateOptions{DryRun: all}); err != nil || m.Data["k"] != "w" {
		return fmt.Errorf("dry update: %v %v", m, err)
	}
	m, err = maps.Patch(ctx, "wet", types.MergePatchType, []byte(`{"data":{"k":"x"}}`), metav1.PatchOptions{DryRun: all})
	if err != nil || m.Data["k"] != "x" {
		return fmt.Errorf("dry patch: %v %v", m, err)
	}
	if err := maps.Delete(ctx, "wet", metav1.DeleteOptions{DryRun: all}); err != nil {
		return fmt.Errorf("dry delete: %w", err)
	}
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{DryRun: all}, metav1.ListOptions{}); err != nil {
		return fmt.Errorf("dry delete of a collection: %w", err)
	}
	got, err := maps.Get(ctx, "wet", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := differ("after dry writes", got.String(), held.String()); err != nil {
		return err
	}
	_, err = maps.Create(ctx, configMap("dry", nil), metav1.CreateOptions{DryRun: []string{"Some"}})
	_, err = refused("an unknown dryRun", err, 422, metav1.StatusReasonInvalid)
	return err
}

// selectors: fields and labels, in lists and in watches.
func selectors(ctx context.Context, w *world) error {
	if err := fill(ctx, w); err != nil {
		return err
	}
	maps := w.typed.CoreV1().ConfigMaps(w.ns)
	for _, c := range []struct{ fields, labels, want string }{
		{"metadata.name=p-3", "", "[p-3]"},
		{"metadata.name!=p-3", "half=1", "[p-1 p-5]"},
		{"metadata.name==absent", "", "[]"},
		{"metadata.namespace=" + w.ns, "half in (0,2)", "[p-0 p-2 p-4 p-6]"},
		{"metadata.namespace=other", "", "[]"},
		{"", "half notin (0)", "[kube-root-ca.crt p-1 p-3 p-5]"},
		{"", "!half", "[kube-root-ca.crt]"},
		{"", "half,half!=1", "[p-0 p-2 p-4 p-6]"},
		{"", "half>0", "[p-1 p-3 p-5]"},
	} {
		l, err := maps.List(ctx, metav1.ListOptions{FieldSelector: c.fields, LabelSelector: c.labels})
		if err != nil {
			return fmt.Errorf("fields %q, labels %q: %w", c.fields, c.labels, err)
		}
		if err := differ(fmt.Sprintf("fields %q, labels %q", c.fields, c.labels), mapNames(l.Items), c.want); err != nil {
			return err
		}
	}
	_, err := maps.List(ctx, metav1.ListOptions{FieldSelector: "data.k=v"})
	s, err := refused("a field that is none", err, 400, metav1.StatusReasonBadRequest)
	if err != nil {
		return err
	}
	want := `"data.k" is not a known field selector: only "metadata.name", "metadata.namespace"`
	if err := differ("message for a field that is none", s.Message, want); err != nil {
		return err
	}
	_, err = maps.List(ctx, metav1.ListOptions{LabelSelector: "a=b=c"})
	if _, err := refused("a selector that does not parse", err, 400, metav1.StatusReasonBadRequest); err != nil {
		return err
	}
	return podFields(ctx, w)
}

// podFields: a Pod that no node takes, found by the fields that schedulers and node agents select on.
func podFields(ctx context.Context, w *world) error {
	pods := w.typed.CoreV1().Pods(w.ns)
	err := eventually(ctx, "ServiceAccount default", syncBound, func() error {
		_, err := w.typed.CoreV1().ServiceAccounts(w.ns).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	if err != nil {
		return err
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "gated"},
		Spec: corev1.PodSpec{
			SchedulingGates: []corev1.PodSchedulingGate{{Name: "keelson.dev/never"}},
			Containers:      []corev1.Container{{Name: "c", Image: "localhost/none:1"}},
		},
	}
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	for fields, want := range map[string]int{
		"spec.nodeName=":                           1,
		"spec.nodeName!=":                          0,
		"status.phase=Pending,spec.nodeName=":      1,
		"status.phase=Running":                     0,
		"spec.restartPolicy=Always":                1,
		"spec.schedulerName=default-scheduler":     1,
		"spec.serviceAccountName=default":          1,
		"spec.hostNetwork=false":                   1,
		"status.podIP=":                            1,
		"metadata.name=gated,status.phase!=Failed": 1,
	} {
		l, err := pods.List(ctx, metav1.ListOptions{FieldSelector: fields})
		if err != nil {
			return fmt.Errorf("pods by %q: %w", fields, err)
		}
		if err := differ(fmt.Sprintf("pods by %q", fields), len(l.Items), want); err != nil {
			return err
		}
	}
	// Nothing runs it, so there is nothing to wait for: it goes at once.
	if err := pods.Delete(ctx, "gated", metav1.DeleteOptions{}); err != nil {
		return err
	}
	_, err = pods.Get(ctx, "gated", metav1.GetOptions{})
	_, err = refused("an unscheduled pod after its deletion", err, 404, metav1.StatusReasonNotFound)
	return err
}

// collections: deletecollection takes what is selected, and finalizers hold an object until they are gone.
func collections(ctx context.Context, w *world) error {
	if err := fill(ctx, w); err != nil {
		return err
	}
	maps := w.typed.CoreV1().ConfigMaps(w.ns)
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "half=1"}); err != nil {
		return err
	}
	l, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "half"})
	if err != nil {
		return err
	}
	if err := differ("after deletecollection", mapNames(l.Items), "[p-0 p-2 p-4 p-6]"); err != nil {
		return err
	}
	kept := configMap("kept", nil)
	kept.Finalizers = []string{"keelson.dev/hold"}
	kept.Labels = map[string]string{"half": "0"}
	if _, err := maps.Create(ctx, kept, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "half=0"}); err != nil {
		return err
	}
	if l, err = maps.List(ctx, metav1.ListOptions{LabelSelector: "half"}); err != nil {
		return err
	}
	if err := differ("what a finalizer holds", mapNames(l.Items), "[kept]"); err != nil {
		return err
	}
	if l.Items[0].DeletionTimestamp == nil {
		return fmt.Errorf("what a finalizer holds has no deletionTimestamp")
	}
	_, err = maps.Patch(ctx, "kept", types.MergePatchType, []byte(`{"metadata":{"finalizers":["keelson.dev/hold","keelson.dev/late"]}}`), metav1.PatchOptions{})
	if _, err := refused("a finalizer added after the deletion", err, 422, metav1.StatusReasonInvalid); err != nil {
		return err
	}
	if _, err := maps.Patch(ctx, "kept", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		return err
	}
	_, err = maps.Get(ctx, "kept", metav1.GetOptions{})
	_, err = refused("after its last finalizer", err, 404, metav1.StatusReasonNotFound)
	return err
}
