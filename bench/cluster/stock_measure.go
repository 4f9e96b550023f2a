package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// bringUp starts a stock cluster for the first time; the caller calls the function it returns in any case.
func bringUp(ctx context.Context, script, dir, images string) (*stock, func() error, error) {
	s, err := newStock(ctx, script, dir, images)
	if err != nil {
		return nil, func() error { return nil }, err
	}
	undo := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), downBound)
		defer cancel()
		return errors.Join(s.drain(ctx), s.remove(ctx))
	}
	say("stock: first start")
	_, err = s.start(ctx)
	return s, undo, err
}

// drain deletes the pods while the kubelet lives, so that it takes their networks down.
func (s *stock) drain(ctx context.Context) error {
	if len(s.running) != len(stockPrograms) || s.alive() != nil {
		return nil
	}
	c, err := clientOf(s.admin)
	if err != nil {
		return err
	}
	l, err := c.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range l.Items {
		if d.Namespace == namespace {
			if err := removeDeployment(ctx, c, d.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func serveStock(ctx context.Context, script, dir, images string) (err error) {
	s, undo, err := bringUp(ctx, script, dir, images)
	defer func() { err = errors.Join(err, undo()) }()
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", s.admin)
	fmt.Fprintf(os.Stderr, "etcd: --endpoints https://127.0.0.1:%d --cacert %s --cert %s --key %s\n",
		s.ports["etcd"], s.pki.crt("ca"), s.pki.crt("apiserver-etcd"), s.pki.pem("apiserver-etcd"))
	<-ctx.Done()
	return nil
}

func measureStock(ctx context.Context, script, dir, images string, p plan) (f *figures, err error) {
	s, undo, err := bringUp(ctx, script, dir, images)
	defer func() { err = errors.Join(err, undo()) }()
	if err != nil {
		return nil, err
	}
	f = &figures{}
	name := filepath.Base(s.binaries["kube-apiserver"])
	f.Version = "Kubernetes " + strings.TrimPrefix(name, "kube-apiserver-") + ", " + filepath.Base(s.binaries["etcd"])
	var binaries []string
	for _, b := range s.binaries {
		binaries = append(binaries, b)
	}
	if f.BinaryMB, err = strippedMB(ctx, dir, binaries...); err != nil {
		return nil, err
	}
	var starts []float64
	for n := range p.Starts {
		say("stock: stop, and start %d of %d on existing data", n+1, p.Starts)
		seconds, err := s.restart(ctx)
		if err != nil {
			return nil, err
		}
		starts = append(starts, seconds)
	}
	f.StartSeconds = sampleOf(starts)
	c, err := clientOf(s.admin)
	if err != nil {
		return nil, err
	}
	if err := prepare(ctx, c); err != nil {
		return nil, err
	}
	if err := untainted(ctx, c); err != nil {
		return nil, err
	}
	say("stock: %d pod starts", p.Pods)
	pods, err := podStarts(ctx, c, p.Pods)
	if err != nil {
		return nil, err
	}
	f.PodSeconds = sampleOf(pods)
	say("stock: %d ConfigMap changes", p.Stock)
	configs, err := configChanges(ctx, c, s.kubeletRoot(), p.Stock)
	if err != nil {
		return nil, err
	}
	f.ConfigSeconds = sampleOf(configs)
	if _, err := s.restart(ctx); err != nil {
		return nil, err
	}
	if err := demoPods(ctx, c); err != nil {
		return nil, err
	}
	return f, idle(ctx, s.pids(), p, f)
}

func (s *stock) restart(ctx context.Context) (float64, error) {
	if err := s.stop(); err != nil {
		return 0, err
	}
	if err := pause(ctx, apart); err != nil {
		return 0, err
	}
	return s.start(ctx)
}

// untainted waits until the scheduler may use the node.
func untainted(ctx context.Context, c kubernetes.Interface) error {
	return until(ctx, "the node without taints", startBound, 100*time.Millisecond, func() (bool, error) {
		n, err := c.CoreV1().Nodes().Get(ctx, stockNode, metav1.GetOptions{})
		if err != nil || len(n.Spec.Taints) == 0 {
			return err == nil, err
		}
		return false, fmt.Errorf("taints %v, conditions %v", n.Spec.Taints, n.Status.Conditions)
	})
}
