package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	demoImage = "localhost/keelson/demo:1.0"
	namespace = "bench"
	// oneBound is how long one repetition may take.
	oneBound = 3 * time.Minute
	// lookEvery is how often a file or a list is looked at again: it bounds a figure's error.
	lookEvery = 2 * time.Millisecond
	// calm lets a node agent finish with a pod that it has just started: while it does, it looks at volumes anyway.
	calm = 5 * time.Second
	// apart keeps two starts in different seconds, which is what a node's report of itself is dated in.
	apart = 1100 * time.Millisecond
)

// errEnded tells that waiting is pointless: what was to answer is gone.
var errEnded = errors.New("ended")

// clientOf speaks protobuf and is not throttled: the figures are the server's.
func clientOf(kubeconfig string) (kubernetes.Interface, error) {
	c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	c.QPS, c.Burst = 1000, 2000
	c.ContentType = "application/vnd.kubernetes.protobuf"
	return kubernetes.NewForConfig(c)
}

// until looks again and again until it is true or a bound is over.
func until(ctx context.Context, what string, bound time.Duration, every time.Duration, look func() (bool, error)) error {
	deadline := time.Now().Add(bound)
	for {
		done, err := look()
		if done && err == nil {
			return nil
		}
		if errors.Is(err, errEnded) {
			return fmt.Errorf("%s: %w", what, err)
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("%s: not within %s", what, bound), err)
		}
		if err := pause(ctx, every); err != nil {
			return err
		}
	}
}

func demo(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	grace := int64(1)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: &grace,
					Containers:                    []corev1.Container{{Name: "demo", Image: demoImage, ImagePullPolicy: corev1.PullIfNotPresent}},
				},
			},
		},
	}
}

// prepare makes the namespace and waits until pods may be created in it.
func prepare(ctx context.Context, c kubernetes.Interface) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := c.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return until(ctx, "ServiceAccount default", oneBound, 10*lookEvery, func() (bool, error) {
		_, err := c.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, err
	})
}

// podStarts measures from the request that creates a Deployment to the watch event that its Pod runs.
func podStarts(ctx context.Context, c kubernetes.Interface, count int) ([]float64, error) {
	var all []float64
	for n := range count {
		seconds, err := podStart(ctx, c, fmt.Sprintf("start-%d", n))
		if err != nil {
			return nil, fmt.Errorf("pod start %d: %w", n, err)
		}
		all = append(all, seconds)
	}
	return all, nil
}

func podStart(ctx context.Context, c kubernetes.Interface, name string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, oneBound)
	defer cancel()
	stream, err := c.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
	if err != nil {
		return 0, err
	}
	defer stream.Stop()
	began := time.Now()
	if _, err := c.AppsV1().Deployments(namespace).Create(ctx, demo(name, 1), metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	var last corev1.PodPhase
	for e := range stream.ResultChan() {
		pod, ok := e.Object.(*corev1.Pod)
		if !ok {
			return 0, fmt.Errorf("watch: %s: %v", e.Type, e.Object)
		}
		if last = pod.Status.Phase; last == corev1.PodRunning {
			took := time.Since(began).Seconds()
			return took, removeDeployment(ctx, c, name)
		}
	}
	return 0, fmt.Errorf("the watch ended; the pod's last phase: %q", last)
}

// removeDeployment deletes it and waits until its pods are gone.
func removeDeployment(ctx context.Context, c kubernetes.Interface, name string) error {
	background := metav1.DeletePropagationBackground
	err := c.AppsV1().Deployments(namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil {
		return err
	}
	return until(ctx, "pods of "+name+" gone", oneBound, 20*time.Millisecond, func() (bool, error) {
		l, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
		return err == nil && len(l.Items) == 0, err
	})
}

// demoPods starts the pods that idleness is measured with.
func demoPods(ctx context.Context, c kubernetes.Interface) error {
	if _, err := c.AppsV1().Deployments(namespace).Create(ctx, demo("idle", idlePods), metav1.CreateOptions{}); err != nil {
		return err
	}
	return until(ctx, "demo pods available", oneBound, 50*time.Millisecond, func() (bool, error) {
		d, err := c.AppsV1().Deployments(namespace).Get(ctx, "idle", metav1.GetOptions{})
		return err == nil && d.Status.AvailableReplicas == idlePods, err
	})
}

// configChanges measures from the request that changes a ConfigMap to the change in a running pod's volume, read
// where the node agent writes it: under root, in pods/UID/volumes/kubernetes.io~configmap/NAME.
func configChanges(ctx context.Context, c kubernetes.Interface, root string, count int) ([]float64, error) {
	if count == 0 {
		return nil, nil
	}
	maps := c.CoreV1().ConfigMaps(namespace)
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"n": "-1"}}
	m, err := maps.Create(ctx, m, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	d := demo("config", 1)
	d.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "settings", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}},
	}}}
	d.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "settings", MountPath: "/settings"}}
	if _, err := c.AppsV1().Deployments(namespace).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	var pod corev1.Pod
	err = until(ctx, "a pod with the volume", oneBound, 50*time.Millisecond, func() (bool, error) {
		l, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=config"})
		if err != nil || len(l.Items) != 1 {
			return false, err
		}
		pod = l.Items[0]
		return pod.Status.Phase == corev1.PodRunning, nil
	})
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, calm); err != nil {
		return nil, err
	}
	file := filepath.Join(root, "pods", string(pod.UID), "volumes", "kubernetes.io~configmap", "settings", "n")
	var all []float64
	for n := range count {
		want := fmt.Sprint(n)
		m.Data["n"] = want
		began := time.Now()
		if m, err = maps.Update(ctx, m, metav1.UpdateOptions{}); err != nil {
			return nil, err
		}
		err := until(ctx, file+" changed", oneBound, lookEvery, func() (bool, error) {
			now, err := os.ReadFile(file)
			return string(now) == want, err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, time.Since(began).Seconds())
	}
	return all, removeDeployment(ctx, c, "config")
}

// nodeReady tells whether a node has reported itself Ready since a time. The report's time is in whole seconds.
func nodeReady(ctx context.Context, c kubernetes.Interface, since time.Time) (bool, error) {
	l, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, err
	}
	for _, n := range l.Items {
		for _, k := range n.Status.Conditions {
			if k.Type == corev1.NodeReady && k.Status == corev1.ConditionTrue && !k.LastHeartbeatTime.Time.Before(since.Truncate(time.Second)) {
				return true, nil
			}
		}
	}
	return false, nil
}
