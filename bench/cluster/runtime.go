package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const pauseImage = "localhost/keelson/pause:1"

// runtimeOf is a containerd for the stock kubelet alone, configured as Keelson configures its own.
type runtimeOf struct {
	dir, socket, config, images string
	imported                    bool
	cmd                         *exec.Cmd
	ended                       chan struct{}
}

func newRuntime(dir, images string) (*runtimeOf, error) {
	r := &runtimeOf{dir: dir, socket: filepath.Join(dir, "containerd.sock"), config: filepath.Join(dir, "config.toml"), images: images}
	if err := os.MkdirAll(filepath.Join(dir, "cni"), 0o700); err != nil {
		return nil, err
	}
	cni := fmt.Sprintf(`{"cniVersion":"0.4.0","name":"bench-stock","plugins":[{"type":"ptp","ipMasq":false,"ipam":{"type":"host-local","dataDir":%q,"ranges":[[{"subnet":%q}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}`,
		filepath.Join(dir, "cni-state"), stockPodCIDR)
	if err := os.WriteFile(filepath.Join(dir, "cni", "10-bench.conflist"), []byte(cni), 0o600); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`version = 2
root = %q
state = %q
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt"]
[grpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = %q
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
  Root = %q
`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), r.socket, pauseImage, filepath.Join(dir, "cni"), filepath.Join(dir, "runc"))
	return r, os.WriteFile(r.config, []byte(config), 0o600)
}

func (r *runtimeOf) start(ctx context.Context) error {
	logFile, err := os.OpenFile(filepath.Join(r.dir, "containerd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	r.cmd = exec.Command("containerd", "--config", r.config)
	r.cmd.Stdout, r.cmd.Stderr = logFile, logFile
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.cmd.Start(); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	r.ended = make(chan struct{})
	go func(c *exec.Cmd, ended chan struct{}) {
		_ = c.Wait()
		close(ended)
	}(r.cmd, r.ended)
	err = until(ctx, "containerd answers", startBound, 10*time.Millisecond, func() (bool, error) {
		c, err := net.Dial("unix", r.socket)
		if err != nil {
			return false, err
		}
		return true, c.Close()
	})
	if err != nil || r.imported {
		return err
	}
	// Only at the first start, which no figure counts.
	r.imported = true
	_, err = tool(ctx, "ctr", "--address", r.socket, "--namespace", "k8s.io", "images", "import", r.images)
	return err
}

// stop ends the containers, containerd and its shims.
func (r *runtimeOf) stop() error {
	if r.cmd == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopBound)
	defer cancel()
	r.killContainers(ctx)
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.ended:
	case <-time.After(stopBound):
		_ = r.cmd.Process.Kill()
		<-r.ended
	}
	r.cmd = nil
	for _, pid := range r.shims() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return nil
}

// killContainers ends every container. What fails here shows in what is left, which the caller removes or reports.
func (r *runtimeOf) killContainers(ctx context.Context) {
	ctr := func(args ...string) []string {
		out, err := tool(ctx, "ctr", append([]string{"--address", r.socket, "--namespace", "k8s.io"}, args...)...)
		if err != nil {
			return nil
		}
		return strings.Fields(out)
	}
	for _, id := range ctr("tasks", "list", "--quiet") {
		ctr("tasks", "kill", "--signal", "SIGKILL", "--all", id)
	}
	for _, id := range ctr("tasks", "list", "--quiet") {
		ctr("tasks", "delete", "--force", id)
	}
	for _, id := range ctr("containers", "list", "--quiet") {
		ctr("containers", "delete", id)
	}
}

// shims of this containerd carry its socket in their arguments.
func (r *runtimeOf) shims() []int {
	var found []int
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		args := strings.Split(string(text), "\x00")
		if !strings.HasSuffix(args[0], "containerd-shim-runc-v2") {
			continue
		}
		for _, a := range args {
			if a == r.socket {
				if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
					found = append(found, pid)
				}
			}
		}
	}
	return found
}

// unmountBelow unmounts everything under a folder, the deepest first.
func unmountBelow(dir string) error {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if at := strings.Fields(line)[1]; strings.HasPrefix(at, dir+"/") {
			found = append(found, at)
		}
	}
	sort.Sort(sort.Reverse(sort.StringSlice(found)))
	var failed []error
	for _, at := range found {
		if err := syscall.Unmount(at, syscall.MNT_DETACH); err != nil {
			failed = append(failed, fmt.Errorf("unmount %s: %w", at, err))
		}
	}
	return errors.Join(failed...)
}

// hierarchies are the cgroup mounts: one for v2, one a controller for v1.
func hierarchies() []string {
	if isFile("/sys/fs/cgroup/cgroup.controllers") {
		return []string{"/sys/fs/cgroup"}
	}
	all, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	for n := range all {
		all[n] = filepath.Dir(all[n])
	}
	return all
}

func makeCgroup(name string) error {
	for _, h := range hierarchies() {
		dir := filepath.Join(h, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		// cpuset is born empty in v1.
		for _, set := range []string{"cpuset.cpus", "cpuset.mems"} {
			have, err := os.ReadFile(filepath.Join(h, set))
			if err != nil {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, set), have, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func removeCgroup(name string) error {
	var failed []error
	for _, h := range hierarchies() {
		var dirs []string
		_ = filepath.WalkDir(filepath.Join(h, name), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for n := len(dirs) - 1; n >= 0; n-- {
			if err := syscall.Rmdir(dirs[n]); err != nil {
				failed = append(failed, fmt.Errorf("remove cgroup %s: %w", dirs[n], err))
			}
		}
	}
	return errors.Join(failed...)
}
