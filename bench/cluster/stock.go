package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	stockServiceCIDR = "10.203.0.0/16"
	stockServiceIP   = "10.203.0.1"
	stockPodCIDR     = "10.204.0.0/24"
	stockNode        = "stock"
	// stopBound is how long a process may take to end before it is killed.
	stopBound = 20 * time.Second
	// startBound is how long the whole of stock Kubernetes may take to become Ready.
	startBound = 3 * time.Minute
)

// stockPrograms in the order in which they are started; containerd is not counted in any figure.
var stockPrograms = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"}

// stock is Kubernetes from upstream's own binaries, one process a component, laid out as kubeadm does on one machine:
// mutual TLS between all, RBAC and the Node authorizer, default settings where a flag has a default. Leader election
// is off, which spares it the wait for an old lease at each start.
type stock struct {
	dir      string
	binaries map[string]string
	ports    map[string]int
	pki      *authority
	admin    string
	args     map[string][]string
	running  map[string]*process
	cgroup   string
	runtime  *runtimeOf
}

type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// buildPeers builds the binaries, once a version.
func buildPeers(ctx context.Context, script string) (map[string]string, error) {
	say("stock: building the peers (once: about ten minutes)")
	c := exec.CommandContext(ctx, script, stockPrograms...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", script, err)
	}
	paths := strings.Fields(string(out))
	if len(paths) != len(stockPrograms) {
		return nil, fmt.Errorf("%s printed %q", script, out)
	}
	found := map[string]string{}
	for n, name := range stockPrograms {
		found[name] = paths[n]
	}
	return found, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func newStock(ctx context.Context, script, dir, images string) (*stock, error) {
	binaries, err := buildPeers(ctx, script)
	if err != nil {
		return nil, err
	}
	pki, err := newAuthority(filepath.Join(dir, "pki"))
	if err != nil {
		return nil, err
	}
	s := &stock{
		dir: dir, binaries: binaries, pki: pki, ports: map[string]int{}, running: map[string]*process{},
		cgroup: fmt.Sprintf("/bench-stock-%d", os.Getpid()),
	}
	for _, name := range append([]string{"etcd-peer", "kubelet-healthz", "kube-proxy-metrics"}, stockPrograms...) {
		if s.ports[name], err = freePort(); err != nil {
			return nil, err
		}
	}
	if s.runtime, err = newRuntime(filepath.Join(dir, "containerd"), images); err != nil {
		return nil, err
	}
	return s, s.configure()
}

func (s *stock) server() string {
	return fmt.Sprintf("https://127.0.0.1:%d", s.ports["kube-apiserver"])
}

// configure issues the certificates and writes every component's flags.
func (s *stock) configure() error {
	for _, pair := range [][]string{
		{"etcd", "etcd"},
		{"apiserver", "kube-apiserver"},
		{"apiserver-etcd", "kube-apiserver-etcd-client"},
		{"apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters"},
		{"kubelet-server", "system:node:" + stockNode, "system:nodes"},
		{"sa", "service-accounts"},
	} {
		if err := s.pki.issue(pair[0], pair[1], pair[2:]...); err != nil {
			return err
		}
	}
	configs := map[string]string{}
	for _, user := range [][]string{
		{"admin", "admin", "system:masters"},
		{"kube-controller-manager", "system:kube-controller-manager"},
		{"kube-scheduler", "system:kube-scheduler"},
		{"kubelet", "system:node:" + stockNode, "system:nodes"},
		{"kube-proxy", "system:kube-proxy"},
	} {
		path, err := s.pki.kubeconfig(s.server(), user[0], user[1], user[2:]...)
		if err != nil {
			return err
		}
		configs[user[0]] = path
	}
	s.admin = configs["admin"]
	kubeletConfig, err := s.kubeletConfig()
	if err != nil {
		return err
	}
	s.args = s.flags(configs, kubeletConfig)
	return nil
}

func (s *stock) flags(configs map[string]string, kubeletConfig string) map[string][]string {
	ca, port := s.pki.crt("ca"), func(name string) string { return fmt.Sprint(s.ports[name]) }
	etcd := "https://127.0.0.1:" + port("etcd")
	peer := "http://127.0.0.1:" + port("etcd-peer")
	component := func(name string) []string {
		c := configs[name]
		return []string{
			"--kubeconfig=" + c, "--authentication-kubeconfig=" + c, "--authorization-kubeconfig=" + c,
			"--bind-address=127.0.0.1", "--secure-port=" + port(name), "--leader-elect=false", "--cert-dir=" + filepath.Join(s.dir, name),
		}
	}
	return map[string][]string{
		"etcd": {
			"--data-dir=" + filepath.Join(s.dir, "etcd"), "--listen-client-urls=" + etcd, "--advertise-client-urls=" + etcd,
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
			"--cert-file=" + s.pki.crt("etcd"), "--key-file=" + s.pki.pem("etcd"), "--trusted-ca-file=" + ca, "--client-cert-auth=true",
			"--snapshot-count=10000",
		},
		"kube-apiserver": {
			"--etcd-servers=" + etcd, "--etcd-cafile=" + ca, "--etcd-certfile=" + s.pki.crt("apiserver-etcd"),
			"--etcd-keyfile=" + s.pki.pem("apiserver-etcd"), "--bind-address=127.0.0.1", "--advertise-address=" + hostIP(),
			"--secure-port=" + port("kube-apiserver"), "--tls-cert-file=" + s.pki.crt("apiserver"),
			"--tls-private-key-file=" + s.pki.pem("apiserver"), "--client-ca-file=" + ca, "--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
			"--service-cluster-ip-range=" + stockServiceCIDR,
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file=" + s.pki.pem("sa"), "--service-account-signing-key-file=" + s.pki.pem("sa"),
			"--kubelet-client-certificate=" + s.pki.crt("apiserver-kubelet"), "--kubelet-client-key=" + s.pki.pem("apiserver-kubelet"),
			"--kubelet-preferred-address-types=InternalIP",
		},
		"kube-controller-manager": append(component("kube-controller-manager"),
			"--use-service-account-credentials=true", "--service-account-private-key-file="+s.pki.pem("sa"), "--root-ca-file="+ca,
			"--client-ca-file="+ca, "--cluster-signing-cert-file="+ca, "--cluster-signing-key-file="+s.pki.pem("ca"),
			"--service-cluster-ip-range="+stockServiceCIDR),
		"kube-scheduler": component("kube-scheduler"),
		"kubelet": {
			"--kubeconfig=" + configs["kubelet"], "--config=" + kubeletConfig, "--root-dir=" + s.kubeletRoot(),
			"--hostname-override=" + stockNode, "--cert-dir=" + filepath.Join(s.dir, "kubelet-certs"), "--node-ip=" + hostIP(),
		},
		"kube-proxy": {
			"--kubeconfig=" + configs["kube-proxy"], "--proxy-mode=nftables", "--hostname-override=" + stockNode,
			"--cluster-cidr=" + stockPodCIDR, "--healthz-bind-address=127.0.0.1:" + port("kube-proxy"),
			"--metrics-bind-address=127.0.0.1:" + port("kube-proxy-metrics"), "--conntrack-max-per-core=0",
			"--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
		},
	}
}

func (s *stock) kubeletRoot() string { return filepath.Join(s.dir, "kubelet") }

// kubeletConfig keeps defaults, but a full disk is not what is measured.
func (s *stock) kubeletConfig() (string, error) {
	path := filepath.Join(s.dir, "kubelet.yaml")
	text := fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: %d
healthzPort: %d
tlsCertFile: %s
tlsPrivateKeyFile: %s
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %s}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix://%s
cgroupDriver: cgroupfs
cgroupRoot: %s
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
podLogsDir: %s
makeIPTablesUtilChains: false
evictionHard: {nodefs.available: 1%%, nodefs.inodesFree: 1%%, imagefs.available: 1%%, memory.available: 100Mi}
imageGCHighThresholdPercent: 100
`, s.ports["kubelet"], s.ports["kubelet-healthz"], s.pki.crt("kubelet-server"), s.pki.pem("kubelet-server"), s.pki.crt("ca"),
		s.runtime.socket, s.cgroup, filepath.Join(s.dir, "pod-logs"))
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// hostIP is the address that this machine would speak from; no packet is sent.
func hostIP() string {
	c, err := net.Dial("udp4", "203.0.113.1:9")
	if err != nil {
		return "127.0.0.1"
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).IP.String()
}

func (s *stock) spawn(name string) error {
	logFile, err := os.OpenFile(filepath.Join(s.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	c := exec.Command(s.binaries[name], s.args[name]...)
	c.Stdout, c.Stderr = logFile, logFile
	// A group of its own: an interrupt of this program must not end it before the cleaning up.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{c, make(chan struct{})}
	go func() {
		_ = c.Wait()
		close(p.ended)
	}()
	s.running[name] = p
	return nil
}

// start starts everything at once and returns the seconds until all answer healthy and the node has reported Ready.
func (s *stock) start(ctx context.Context) (float64, error) {
	if err := makeCgroup(s.cgroup); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := s.runtime.start(ctx); err != nil {
		return 0, err
	}
	c, err := clientOf(s.admin)
	if err != nil {
		return 0, err
	}
	for _, name := range stockPrograms {
		if err := s.spawn(name); err != nil {
			return 0, err
		}
		// Those that end when the API server does not answer yet would be started again by the kubelet or systemd;
		// here they are started when it does, which is the sooner.
		if name == "kube-apiserver" {
			if err := s.healthy(ctx, "kube-apiserver", s.server()+"/readyz"); err != nil {
				return 0, err
			}
		}
	}
	for name, address := range map[string]string{
		"kube-controller-manager": "https://127.0.0.1:%d/healthz", "kube-scheduler": "https://127.0.0.1:%d/healthz",
		"kube-proxy": "http://127.0.0.1:%d/healthz",
	} {
		if err := s.healthy(ctx, name, fmt.Sprintf(address, s.ports[name])); err != nil {
			return 0, err
		}
	}
	err = until(ctx, "the node Ready", startBound, 20*time.Millisecond, func() (bool, error) {
		if err := s.alive(); err != nil {
			return false, err
		}
		return nodeReady(ctx, c, began)
	})
	return time.Since(began).Seconds(), err
}

// alive tells of a process that ended by itself.
func (s *stock) alive() error {
	for name, p := range s.running {
		select {
		case <-p.ended:
			return fmt.Errorf("%s %w: %s", name, errEnded, lastLine(filepath.Join(s.dir, name+".log")))
		default:
		}
	}
	return nil
}

func lastLine(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	for n := len(all) - 1; n >= 0; n-- {
		if strings.HasPrefix(all[n], "E") || strings.HasPrefix(all[n], "F") || strings.HasPrefix(all[n], "Error") {
			return all[n]
		}
	}
	return all[len(all)-1]
}

func (s *stock) healthy(ctx context.Context, name, address string) error {
	pair, err := tls.LoadX509KeyPair(s.pki.crt("admin"), s.pki.pem("admin"))
	if err != nil {
		return err
	}
	// Health alone is asked; several of these servers sign their own certificates.
	c := http.Client{
		Timeout:   time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
	return until(ctx, name+" healthy", startBound, 20*time.Millisecond, func() (bool, error) {
		if err := s.alive(); err != nil {
			return false, err
		}
		answer, err := c.Get(address)
		if err != nil {
			return false, err
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK, nil
	})
}

// stop ends everything that start began, in the opposite order, and containerd last.
func (s *stock) stop() error {
	var failed []error
	for n := len(stockPrograms) - 1; n >= 0; n-- {
		name := stockPrograms[n]
		p, ok := s.running[name]
		if !ok {
			continue
		}
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(stopBound):
			_ = p.cmd.Process.Kill()
			<-p.ended
		}
		delete(s.running, name)
	}
	failed = append(failed, s.runtime.stop())
	return errors.Join(failed...)
}

func (s *stock) pids() map[string]int {
	all := map[string]int{}
	for name, p := range s.running {
		all[name] = p.cmd.Process.Pid
	}
	return all
}

// remove cleans up what the processes left in the kernel.
func (s *stock) remove(ctx context.Context) error {
	failed := []error{s.stop()}
	if s.binaries["kube-proxy"] != "" {
		if _, err := tool(ctx, s.binaries["kube-proxy"], "--cleanup", "--proxy-mode=nftables"); err != nil {
			failed = append(failed, err)
		}
	}
	failed = append(failed, unmountBelow(s.dir), removeCgroup(s.cgroup))
	return errors.Join(failed...)
}
