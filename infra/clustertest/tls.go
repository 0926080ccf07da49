//go:build unix

package clustertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// StartRedisTLS starts a Redis Cluster of a single master that speaks TLS only, and returns its address and whom to trust.
func StartRedisTLS(t testing.TB) (addr string, roots *x509.CertPool) {
	t.Helper()
	dir := folder(t, "tls")
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	roots = certify(t, certFile, keyFile)
	ports := freePorts(t, 2)
	n := newRedisNode(t, "tls", ports[0], "--tls-port", strconv.Itoa(ports[1]), "--tls-cert-file", certFile, "--tls-key-file", keyFile, "--tls-ca-cert-file", certFile,
		"--cluster-announce-ip", host, "--tls-auth-clients", "no", "--tls-cluster", "yes", "--cluster-enabled", "yes", "--port", "0")
	n.addr = address(ports[1])
	_ = n.client.Close()
	n.client = redis.NewClient(&redis.Options{
		Addr: n.addr, Password: RedisPassword, ContextTimeoutEnabled: true, TLSConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	})
	c := &Redis{t: t, nodes: []*redisNode{n}}
	c.Start(0)
	n.must(n.client.ClusterAddSlotsRange(t.Context(), 0, slots-1).Err())
	c.Joined(0)
	return n.addr, roots
}

// certify writes a certificate of this machine's own address and its key, and returns a pool that trusts it.
func certify(t testing.TB, certFile, keyFile string) *x509.CertPool {
	t.Helper()
	write := func(file, kind string, der []byte, err error) {
		t.Helper()
		if err == nil {
			err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
		}
		if err != nil {
			t.Fatalf("clustertest: %v", err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("clustertest: %v", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.ParseIP(host)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	write(certFile, "CERTIFICATE", der, err)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("clustertest: %v", err)
	}
	der, err = x509.MarshalPKCS8PrivateKey(key)
	write(keyFile, "PRIVATE KEY", der, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}
