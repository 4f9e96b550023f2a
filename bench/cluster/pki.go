package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// certLife is far longer than a run.
const certLife = 24 * time.Hour

// authority issues the stock cluster's certificates, as kubeadm would lay them out.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(dir string) (*authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template("bench-ca")
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage |= x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a := &authority{dir, cert, key}
	return a, a.write("ca", der, key)
}

func template(name string, groups ...string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: name, Organization: groups},
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(certLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func (a *authority) crt(name string) string { return filepath.Join(a.dir, name+".crt") }
func (a *authority) pem(name string) string { return filepath.Join(a.dir, name+".key") }

func (a *authority) write(name string, der []byte, key *ecdsa.PrivateKey) error {
	// SEC 1's form: kube-apiserver takes no PKCS #8 for ServiceAccount keys.
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(a.crt(name), block, 0o600); err != nil {
		return err
	}
	return os.WriteFile(a.pem(name), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600)
}

// issue writes a pair for both uses, valid for loopback.
func (a *authority) issue(file, name string, groups ...string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := template(name, groups...)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(stockServiceIP)}
	t.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("certificate for %s: %w", name, err)
	}
	return a.write(file, der, key)
}

// kubeconfig issues a pair and writes a kubeconfig of it.
func (a *authority) kubeconfig(server, file, name string, groups ...string) (string, error) {
	if err := a.issue(file, name, groups...); err != nil {
		return "", err
	}
	c := api.NewConfig()
	c.Clusters["stock"] = &api.Cluster{Server: server, CertificateAuthority: a.crt("ca")}
	c.AuthInfos["stock"] = &api.AuthInfo{ClientCertificate: a.crt(file), ClientKey: a.pem(file)}
	c.Contexts["stock"] = &api.Context{Cluster: "stock", AuthInfo: "stock"}
	c.CurrentContext = "stock"
	path := filepath.Join(a.dir, file+".kubeconfig")
	return path, clientcmd.WriteToFile(*c, path)
}
