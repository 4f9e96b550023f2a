package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	// clientQPS is above what any scenario asks: client-side throttling would hide what the server does.
	clientQPS   = 2000
	clientBurst = 4000
	// lookEvery is how often a wait looks again.
	lookEvery = 20 * time.Millisecond
)

// world is what a scenario works with.
type world struct {
	// config carries the recorder; clients made from it are recorded.
	config  *rest.Config
	typed   kubernetes.Interface // speaks protobuf
	plain   kubernetes.Interface // speaks JSON
	ns      string
	seen    *recorder
	compact []string
}

// exchange is one request, and the media type of its answer.
type exchange struct {
	method, path, query, accept, contentType string
	status                                   int
}

// recorder remembers every exchange, so that a scenario can tell which way client-go really took.
type recorder struct {
	mu  sync.Mutex
	all []exchange
}

type recording struct {
	next http.RoundTripper
	to   *recorder
}

func (r recording) RoundTrip(q *http.Request) (*http.Response, error) {
	answer, err := r.next.RoundTrip(q)
	if err != nil {
		return nil, err
	}
	e := exchange{
		method: q.Method, path: q.URL.Path, query: q.URL.RawQuery, accept: q.Header.Get("Accept"),
		contentType: answer.Header.Get("Content-Type"), status: answer.StatusCode,
	}
	r.to.mu.Lock()
	defer r.to.mu.Unlock()
	r.to.all = append(r.to.all, e)
	return answer, nil
}

func (r *recorder) find(want func(exchange) bool) []exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []exchange
	for _, e := range r.all {
		if want(e) {
			found = append(found, e)
		}
	}
	return found
}

func newWorld(ctx context.Context, base *rest.Config, name string, compact []string) (*world, error) {
	w := &world{config: rest.CopyConfig(base), seen: &recorder{}, compact: compact}
	w.config.QPS, w.config.Burst = clientQPS, clientBurst
	w.config.UserAgent = "clientgo-" + name
	w.config.Wrap(func(next http.RoundTripper) http.RoundTripper { return recording{next, w.seen} })
	var err error
	if w.plain, err = kubernetes.NewForConfig(w.config); err != nil {
		return nil, fmt.Errorf("make a JSON client: %w", err)
	}
	if w.typed, err = kubernetes.NewForConfig(w.protobufConfig()); err != nil {
		return nil, fmt.Errorf("make a protobuf client: %w", err)
	}
	made, err := w.typed.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "clientgo-" + name + "-"},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("create a namespace: %w", err)
	}
	w.ns = made.Name
	return w, nil
}

func (w *world) protobufConfig() *rest.Config {
	c := rest.CopyConfig(w.config)
	c.ContentType = protobuf
	c.AcceptContentTypes = protobuf
	return c
}

// close deletes the namespace; a context of its own, because the scenario's may be over.
func (w *world) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = w.typed.CoreV1().Namespaces().Delete(ctx, w.ns, metav1.DeleteOptions{})
}

// eventually waits until look returns nil; its last error tells what was seen instead.
func eventually(ctx context.Context, what string, bound time.Duration, look func() error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, lookEvery, bound, true, func(context.Context) (bool, error) {
		last = look()
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%s: not within %s: %w", what, bound, last)
	}
	return nil
}

// refused checks that err is an API error of this code and reason, and returns it.
func refused(what string, err error, code int32, reason metav1.StatusReason) (*metav1.Status, error) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return nil, fmt.Errorf("%s: want %d %s, got %v", what, code, reason, err)
	}
	s := status.Status()
	if s.Code != code || s.Reason != reason {
		return nil, fmt.Errorf("%s: want %d %s, got %d %s: %s", what, code, reason, s.Code, s.Reason, s.Message)
	}
	return &s, nil
}

func differ(what string, got, want any) error {
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		return fmt.Errorf("%s: got %s, want %s", what, g, w)
	}
	return nil
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
}

func lines(s []string) string { return strings.Join(s, "\n") }
