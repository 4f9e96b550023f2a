// Command cluster measures a Keelson cluster and stock Kubernetes 1.35 beside it, in one run on one machine, with
// the same code: start to Ready, Deployment to Running, idle memory and CPU, a changed ConfigMap in its volume.
// ../README.md says what each figure means.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/klog/v2"
)

// plan is how much of each thing is measured.
type plan struct {
	Starts     int           `json:"starts"`
	Pods       int           `json:"pods"`
	Configs    int           `json:"configs"`
	Stock      int           `json:"stockConfigs"`
	Settle     time.Duration `json:"-"`
	Idle       time.Duration `json:"-"`
	IdleText   string        `json:"idle"`
	SettleText string        `json:"settle"`
}

// Limits of a run's parts.
const (
	idlePods     = 5
	stockConfigs = 3
	// settle lets what a start set off come to rest before idleness is measured.
	settle      = 30 * time.Second
	quickSettle = 10 * time.Second
	quickIdle   = 30 * time.Second
)

type options struct {
	keelson, peers, only, output, images string
	quick                                bool
	serve                                bool
	minutes                              float64
	repetitions                          int
}

func main() {
	var o options
	flag.StringVar(&o.keelson, "keelson", "keelson", "the release binary to measure")
	flag.StringVar(&o.peers, "peers", "", "script that builds the stock peers and prints their paths (default: bench/peers/build of this repository)")
	flag.StringVar(&o.only, "only", "both", "keelson, stock or both")
	flag.StringVar(&o.output, "o", "text", "text or json")
	flag.StringVar(&o.images, "images", "", "archive with the demo and pause images, for stock alone (default: exported from a Keelson cluster)")
	flag.BoolVar(&o.quick, "quick", false, "skip the long parts: fewer repetitions, half a minute of idleness, no stock volumes")
	flag.BoolVar(&o.serve, "serve-stock", false, "only start stock Kubernetes, print its kubeconfig and wait for a signal")
	flag.Float64Var(&o.minutes, "minutes", 5, "minutes of idleness to measure")
	flag.IntVar(&o.repetitions, "repetitions", 20, "repetitions of Deployment to Running, and of ConfigMap to volume")
	flag.Parse()
	klog.SetOutput(io.Discard)
	klog.LogToStderr(false)
	log.SetOutput(io.Discard)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		stop()
		fmt.Fprintf(os.Stderr, "bench/cluster: %v\n", err)
		os.Exit(1)
	}
}

func (o options) plan() plan {
	p := plan{Starts: 5, Pods: o.repetitions, Configs: o.repetitions, Stock: stockConfigs, Settle: settle,
		Idle: time.Duration(o.minutes * float64(time.Minute))}
	if o.quick {
		p = plan{Starts: 2, Pods: 5, Configs: 5, Stock: 0, Settle: quickSettle, Idle: quickIdle}
	}
	p.IdleText, p.SettleText = p.Idle.String(), p.Settle.String()
	return p
}

func run(ctx context.Context, o options) (err error) {
	if os.Getuid() != 0 {
		return errors.New("run this as root: it starts clusters")
	}
	if o.output != "text" && o.output != "json" {
		return fmt.Errorf("-o %q: text or json", o.output)
	}
	dir, err := os.MkdirTemp("", "keelson-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.peers == "" {
		if o.peers, err = findPeers(); err != nil {
			return err
		}
	}
	p := o.plan()
	r := report{Plan: p}
	images, err := o.archive(ctx, dir)
	if err != nil {
		return err
	}
	if o.serve {
		return serveStock(ctx, o.peers, filepath.Join(dir, "stock"), images)
	}
	if o.only != "stock" {
		k, err := o.cluster(dir)
		if err != nil {
			return err
		}
		if r.Keelson, err = measureKeelson(ctx, k, p, images); err != nil {
			return fmt.Errorf("keelson: %w", err)
		}
	}
	if o.only != "keelson" {
		if r.Stock, err = measureStock(ctx, o.peers, filepath.Join(dir, "stock"), images, p); err != nil {
			return fmt.Errorf("stock: %w", err)
		}
	}
	return r.print(os.Stdout, o.output)
}

func (o options) cluster(dir string) (*keelson, error) {
	binary, err := exec.LookPath(o.keelson)
	if err != nil {
		return nil, fmt.Errorf("%w: build it (cargo build --release) and name it with --keelson", err)
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return nil, err
	}
	return newKeelson(binary, filepath.Join(dir, "ours")), nil
}

// archive is where the images for the stock side are, or will be once Keelson has been measured.
func (o options) archive(ctx context.Context, dir string) (string, error) {
	if o.images != "" {
		return filepath.Abs(o.images)
	}
	file := filepath.Join(dir, "images.tar")
	if o.only != "stock" && !o.serve {
		return file, nil
	}
	k, err := o.cluster(dir)
	if err != nil {
		return "", err
	}
	return file, k.exportImages(ctx, file)
}

// findPeers looks for bench/peers/build from the working directory upwards.
func findPeers() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		for _, below := range []string{"bench/peers/build", "peers/build"} {
			if found := filepath.Join(at, below); isFile(found) {
				return found, nil
			}
		}
		if at == filepath.Dir(at) {
			return "", errors.New("bench/peers/build is not above the working directory: name it with --peers")
		}
		at = filepath.Dir(at)
	}
}

func isFile(path string) bool {
	s, err := os.Stat(path)
	return err == nil && s.Mode().IsRegular()
}

// say tells progress, on standard error.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "==> "+format+"\n", args...) }

// tool runs a program and returns its standard output.
func tool(ctx context.Context, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	out, err := c.Output()
	if err == nil {
		return string(out), nil
	}
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return "", fmt.Errorf("%s %v: %w: %s", name, args, err, failed.Stderr)
	}
	return "", fmt.Errorf("%s %v: %w", name, args, err)
}
