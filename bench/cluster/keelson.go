package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// downBound is how long the cleaning up may take when the run itself was interrupted.
const downBound = 2 * time.Minute

// keelson is a cluster of a name of its own.
type keelson struct {
	binary, name, dir, kubeconfig string
}

func newKeelson(binary, dir string) *keelson {
	return &keelson{binary, fmt.Sprintf("bench-%d", os.Getpid()), dir, filepath.Join(dir, "kubeconfig")}
}

func (k *keelson) up(ctx context.Context) error {
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return err
	}
	_, err := tool(ctx, k.binary, "up", "--name", k.name, "--kubeconfig", k.kubeconfig)
	return err
}

func (k *keelson) down(ctx context.Context) error {
	_, err := tool(ctx, k.binary, "down", "--name", k.name)
	return err
}

// purge cleans up whatever became of the run.
func (k *keelson) purge() error {
	ctx, cancel := context.WithTimeout(context.Background(), downBound)
	defer cancel()
	_, err := tool(ctx, k.binary, "down", "--purge", "--name", k.name)
	return err
}

// pids by process: components that share one are named together.
func (k *keelson) pids(ctx context.Context) (map[string]int, error) {
	text, err := tool(ctx, k.binary, "status", "--name", k.name, "-o", "json")
	if err != nil {
		return nil, err
	}
	var status struct {
		Pids map[string]int `json:"pids"`
	}
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		return nil, fmt.Errorf("keelson status: %w", err)
	}
	by := map[int]int{}
	for name, pid := range status.Pids {
		if name != "containerd" {
			by[pid]++
		}
	}
	found := map[string]int{}
	for pid, components := range by {
		found[fmt.Sprintf("keelson (%d components)", components)] = pid
	}
	if len(found) != len(by) || len(found) == 0 {
		return nil, fmt.Errorf("keelson status names these processes: %v", status.Pids)
	}
	return found, nil
}

// saveImages writes the images that the stock side needs too.
func (k *keelson) saveImages(ctx context.Context, file string) error {
	_, err := tool(ctx, "ctr", "--address", "/run/keelson/"+k.name+"/containerd.sock", "--namespace", "k8s.io",
		"images", "export", file, demoImage, pauseImage)
	return err
}

// exportImages brings a cluster up for its images alone.
func (k *keelson) exportImages(ctx context.Context, file string) (err error) {
	say("keelson: up, for the images")
	defer func() { err = errors.Join(err, k.purge()) }()
	if err := k.up(ctx); err != nil {
		return err
	}
	return k.saveImages(ctx, file)
}

func measureKeelson(ctx context.Context, k *keelson, p plan, images string) (f *figures, err error) {
	f = &figures{}
	version, err := tool(ctx, k.binary, "--version")
	if err != nil {
		return nil, err
	}
	f.Version = strings.TrimSpace(strings.TrimPrefix(version, "keelson "))
	if f.BinaryMB, err = strippedMB(ctx, k.dir, k.binary); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.purge()) }()
	say("keelson: first start")
	if err := k.up(ctx); err != nil {
		return nil, err
	}
	if err := k.saveImages(ctx, images); err != nil {
		return nil, err
	}
	var starts []float64
	for n := range p.Starts {
		say("keelson: down, and start %d of %d on existing data", n+1, p.Starts)
		seconds, err := k.restart(ctx)
		if err != nil {
			return nil, err
		}
		starts = append(starts, seconds)
	}
	f.StartSeconds = sampleOf(starts)
	c, err := clientOf(k.kubeconfig)
	if err != nil {
		return nil, err
	}
	if err := prepare(ctx, c); err != nil {
		return nil, err
	}
	say("keelson: %d pod starts", p.Pods)
	pods, err := podStarts(ctx, c, p.Pods)
	if err != nil {
		return nil, err
	}
	f.PodSeconds = sampleOf(pods)
	say("keelson: %d ConfigMap changes", p.Configs)
	configs, err := configChanges(ctx, c, filepath.Join("/var/lib/keelson", k.name, "kubelet"), p.Configs)
	if err != nil {
		return nil, err
	}
	f.ConfigSeconds = sampleOf(configs)
	// A fresh process: idleness is not measured with the memory of what came before.
	if _, err := k.restart(ctx); err != nil {
		return nil, err
	}
	if err := demoPods(ctx, c); err != nil {
		return nil, err
	}
	pids, err := k.pids(ctx)
	if err != nil {
		return nil, err
	}
	return f, idle(ctx, pids, p, f)
}

// restart is `down` and a timed `up`; Ready is looked up, not believed.
func (k *keelson) restart(ctx context.Context) (float64, error) {
	if err := k.down(ctx); err != nil {
		return 0, err
	}
	if err := pause(ctx, apart); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := k.up(ctx); err != nil {
		return 0, err
	}
	took := time.Since(began).Seconds()
	c, err := clientOf(k.kubeconfig)
	if err != nil {
		return 0, err
	}
	ready, err := nodeReady(ctx, c, began)
	if err != nil {
		return 0, err
	}
	if !ready {
		return 0, errors.New("`up` returned, but the node has not reported itself Ready since")
	}
	return took, nil
}

// strippedMB is the size of binaries without symbols, in 10^6 bytes.
func strippedMB(ctx context.Context, dir string, binaries ...string) (float64, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	var total float64
	for _, b := range binaries {
		copied := filepath.Join(dir, "stripped")
		if _, err := tool(ctx, "strip", "-o", copied, b); err != nil {
			return 0, err
		}
		s, err := os.Stat(copied)
		if err != nil {
			return 0, err
		}
		total += float64(s.Size()) / 1e6
		if err := os.Remove(copied); err != nil {
			return 0, err
		}
	}
	return total, nil
}
