// Command clientgo drives a cluster with stock client-go: what informers, controllers and operators do all day.
//
// It knows nothing of Keelson; every scenario also passes against an upstream kube-apiserver, which is how the
// scenarios themselves are proven. Each one works in a namespace of its own and deletes it at the end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

const (
	// scenarioTimeout bounds one scenario.
	scenarioTimeout = 90 * time.Second
	// protobuf is the content type of typed clients that ask for it.
	protobuf = "application/vnd.kubernetes.protobuf"
)

var scenarios = map[string]func(context.Context, *world) error{
	"informers":   informersSync,
	"events":      informerEvents,
	"names":       printNames,
	"metadata":    metadataAndDynamic,
	"paging":      paging,
	"expired":     expired,
	"concurrency": concurrency,
	"leader":      leaderElection,
	"patches":     patches,
	"dryrun":      dryRun,
	"selectors":   selectors,
	"collections": collections,
	"watches":     watches,
	"versions":    versions,
	"discovery":   discoveryAndMapper,
	"openapi":     openAPI,
	"tokens":      tokens,
}

func main() {
	kubeconfig := flag.String("kubeconfig", os.Getenv("KUBECONFIG"), "kubeconfig of the cluster")
	scenario := flag.String("scenario", "", "one of "+strings.Join(known(), ", ")+", or all")
	compact := flag.String("compact", "", "command that compacts the datastore; a revision is added to it (needed by expired)")
	verbose := flag.Bool("v", false, "keep client-go's own log on standard error")
	flag.Parse()
	if !*verbose {
		klog.SetLogger(logr.Discard())
	}
	if err := run(*kubeconfig, *scenario, strings.Fields(*compact)); err != nil {
		fmt.Fprintf(os.Stderr, "clientgo: %v\n", err)
		os.Exit(1)
	}
}

func run(kubeconfig, scenario string, compact []string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig %q: %w", kubeconfig, err)
	}
	chosen := []string{scenario}
	if scenario == "all" {
		chosen = known()
	}
	var failed []error
	for _, name := range chosen {
		f, ok := scenarios[name]
		if !ok {
			return fmt.Errorf("no scenario %q: there are %s", name, strings.Join(known(), ", "))
		}
		if err := one(config, name, compact, f); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(failed...)
}

func one(config *rest.Config, name string, compact []string, f func(context.Context, *world) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), scenarioTimeout)
	defer cancel()
	w, err := newWorld(ctx, config, name, compact)
	if err != nil {
		return err
	}
	defer w.close()
	began := time.Now()
	if err := f(ctx, w); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: ok (%.1f s)\n", name, time.Since(began).Seconds())
	return nil
}

func known() []string {
	var all []string
	for name := range scenarios {
		all = append(all, name)
	}
	sort.Strings(all)
	return all
}
