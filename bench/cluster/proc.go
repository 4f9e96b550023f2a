package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticksASecond is USER_HZ, which Linux fixes at 100 for every architecture that this runs on.
const ticksASecond = 100

// residentMiB is VmRSS of a process.
func residentMiB(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}

// cpuSeconds is user and system time of a process, its threads included and its children not.
func cpuSeconds(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in brackets may hold spaces; the fields are counted from after it (proc(5): utime 14, stime 15).
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat is too short", pid)
	}
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticksASecond, err
}

// idle settles, then measures CPU over a period and memory at its end, into f.
func idle(ctx context.Context, pids map[string]int, p plan, f *figures) error {
	say("idle: %s to settle, then %s measured", p.Settle, p.Idle)
	if err := pause(ctx, p.Settle); err != nil {
		return err
	}
	before := map[string]float64{}
	began := time.Now()
	for name, pid := range pids {
		used, err := cpuSeconds(pid)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		before[name] = used
	}
	if err := pause(ctx, p.Idle); err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	f.MemoryBy, f.CPUBy = map[string]float64{}, map[string]float64{}
	f.MemoryMiB, f.CPUPercent = 0, 0
	for name, pid := range pids {
		used, err := cpuSeconds(pid)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		resident, err := residentMiB(pid)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		f.CPUBy[name] = (used - before[name]) / took * 100
		f.MemoryBy[name] = resident
		f.CPUPercent += f.CPUBy[name]
		f.MemoryMiB += resident
	}
	return nil
}

// pause is the one thing here that waits for time itself.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
