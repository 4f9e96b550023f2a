package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// sample is the spread of one measure.
type sample struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	All    []float64 `json:"all"`
}

func sampleOf(all []float64) *sample {
	if len(all) == 0 {
		return nil
	}
	s := slices.Clone(all)
	slices.Sort(s)
	median := s[len(s)/2]
	if len(s)%2 == 0 {
		median = (s[len(s)/2-1] + median) / 2
	}
	return &sample{Median: median, Min: s[0], Max: s[len(s)-1], All: all}
}

// figures of one side; what was not measured is nil.
type figures struct {
	Version       string             `json:"version"`
	StartSeconds  *sample            `json:"startToReadySeconds,omitempty"`
	PodSeconds    *sample            `json:"deploymentToRunningSeconds,omitempty"`
	ConfigSeconds *sample            `json:"configMapToVolumeSeconds,omitempty"`
	MemoryMiB     float64            `json:"idleMemoryMiB"`
	CPUPercent    float64            `json:"idleCPUPercentOfCore"`
	MemoryBy      map[string]float64 `json:"idleMemoryMiBByProcess"`
	CPUBy         map[string]float64 `json:"idleCPUPercentByProcess"`
	BinaryMB      float64            `json:"strippedBinariesMB"`
}

type report struct {
	Plan    plan     `json:"plan"`
	Keelson *figures `json:"keelson,omitempty"`
	Stock   *figures `json:"stock,omitempty"`
}

func (r report) print(to io.Writer, form string) error {
	if form == "json" {
		e := json.NewEncoder(to)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	t := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "measure\tkeelson\tstock\tstock / keelson")
	spread := func(what string, of func(*figures) *sample) {
		o, s := pick(r.Keelson, of), pick(r.Stock, of)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", what, o, s, ratio(median(o), median(s)))
	}
	single := func(what string, of func(*figures) float64) {
		o, s := value(r.Keelson, of), value(r.Stock, of)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", what, number(o), number(s), ratio(o, s))
	}
	spread(fmt.Sprintf("start on existing data to Ready, s (median of %d)", r.Plan.Starts), func(f *figures) *sample { return f.StartSeconds })
	spread(fmt.Sprintf("Deployment created to Pod Running, s (median of %d)", r.Plan.Pods), func(f *figures) *sample { return f.PodSeconds })
	single(fmt.Sprintf("idle memory, %d pods, MiB", idlePods), func(f *figures) float64 { return f.MemoryMiB })
	single(fmt.Sprintf("idle CPU over %s, %% of a core", r.Plan.IdleText), func(f *figures) float64 { return f.CPUPercent })
	spread("changed ConfigMap in its volume, s", func(f *figures) *sample { return f.ConfigSeconds })
	single("stripped binaries, MB", func(f *figures) float64 { return f.BinaryMB })
	if err := t.Flush(); err != nil {
		return err
	}
	for _, side := range []struct {
		name string
		f    *figures
	}{{"keelson", r.Keelson}, {"stock", r.Stock}} {
		if side.f == nil {
			continue
		}
		fmt.Fprintf(to, "\n%s %s, idle by process:\n", side.name, side.f.Version)
		for _, name := range names(side.f.MemoryBy) {
			fmt.Fprintf(to, "  %-26s %8.1f MiB %7.2f%%\n", name, side.f.MemoryBy[name], side.f.CPUBy[name])
		}
	}
	return nil
}

func names(m map[string]float64) []string {
	var all []string
	for n := range m {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}

func pick(f *figures, of func(*figures) *sample) *sample {
	if f == nil {
		return nil
	}
	return of(f)
}

func value(f *figures, of func(*figures) float64) float64 {
	if f == nil {
		return 0
	}
	return of(f)
}

func median(s *sample) float64 {
	if s == nil {
		return 0
	}
	return s.Median
}

// String of a sample that is not there is a dash, as in every other column.
func (s *sample) String() string {
	if s == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", s.Median, s.Min, s.Max)
}

func number(v float64) string {
	if v == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", v)
}

func ratio(ours, stock float64) string {
	if ours == 0 || stock == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1fx", stock/ours)
}
