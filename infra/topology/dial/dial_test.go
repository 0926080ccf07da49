package dial_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/redistest"
	"tidemark.dev/infra/topology"
	"tidemark.dev/infra/topology/dial"
)

// patience is far more than a server on this machine needs, however busy it is.
const patience = 30 * time.Second

// files are PEM files of one authority and of a certificate for 127.0.0.1 that it signed.
type files struct{ ca, cert, key string }

func certificates(t *testing.T) files {
	t.Helper()
	folder := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sign := func(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if parent == nil {
			parent, parentKey = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
		if err != nil {
			t.Fatal(err)
		}
		return der, key
	}
	from, until := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, authorityKey := sign(authority, nil, nil)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"}, NotBefore: from, NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	leafDER, leafKey := sign(leaf, authority, authorityKey)
	keyDER, err := x509.MarshalECPrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	return files{write("ca.pem", "CERTIFICATE", der), write("cert.pem", "CERTIFICATE", leafDER), write("key.pem", "EC PRIVATE KEY", keyDER)}
}

// natsServer starts a server with one user, and with TLS that wants a certificate of clients too if a configuration is given.
func natsServer(t *testing.T, user, password string, secure *tls.Config) *natstest.Server {
	t.Helper()
	return natstest.Start(t, func(o *server.Options) {
		o.JetStream, o.Username, o.Password, o.TLSConfig, o.TLSTimeout = false, user, password, secure, patience.Seconds()
	})
}

func connect(t *testing.T, url string, n topology.NATS, env topology.Environment, more ...nats.Option) (*nats.Conn, error) {
	t.Helper()
	options, err := dial.NATS(n, env)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(url, append(append(options, nats.Timeout(patience)), more...)...)
	if err == nil {
		t.Cleanup(nc.Close)
	}
	return nc, err
}

func TestAClientLogsInWithTheSecretOfTheReference(t *testing.T) {
	url := natsServer(t, "tidemark", "right", nil).ClientURL()
	n := topology.NATS{User: "tidemark", Password: topology.Secret{Env: "P"}}
	if _, err := connect(t, url, n, topology.Environment{"P=right"}); err != nil {
		t.Error(err)
	}
	if _, err := connect(t, url, n, topology.Environment{"P=wrong"}); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a wrong password gives %v", err)
	}
	if _, err := connect(t, url, n, nil); !errors.Is(err, topology.ErrSecret) {
		t.Errorf("a missing password gives %v", err)
	}
	if _, err := connect(t, url, topology.NATS{}, nil); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("no credentials give %v", err)
	}
	if _, err := connect(t, url, topology.NATS{Creds: topology.Secret{File: "/nonexistent"}}, nil); !errors.Is(err, topology.ErrSecret) {
		t.Errorf("missing credentials give %v", err)
	}
}

func TestAChangedPasswordIsTakenAtTheNextReconnection(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	old := natsServer(t, "tidemark", "first", nil)
	n := topology.NATS{User: "tidemark", Password: topology.Secret{File: file}}
	again := make(chan struct{}, 1)
	back := natsServer(t, "tidemark", "second", nil)
	nc, err := connect(t, old.ClientURL()+","+back.ClientURL(), n, nil, nats.DontRandomize(), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectHandler(func(*nats.Conn) { again <- struct{}{} }))
	if err != nil {
		t.Fatal(err)
	}
	write("second")
	old.Shutdown()
	select {
	case <-again:
	case <-time.After(patience):
		t.Fatalf("the client does not come back: %v", nc.LastError())
	}
	// A file that is gone for a moment does not make a known password wrong.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	user, password := nc.Opts.UserInfo()
	if user != "tidemark" || password != "first" {
		t.Errorf("the client would log in as %s with %s", user, password)
	}
}

func TestTLSBelievesOnlyTheAuthorityOfTheFile(t *testing.T) {
	own, other := certificates(t), certificates(t)
	serverTLS, err := topology.TLS{CA: own.ca, Cert: own.cert, Key: own.key}.Config()
	if err != nil {
		t.Fatal(err)
	}
	serverTLS.ClientCAs, serverTLS.ClientAuth = serverTLS.RootCAs, tls.RequireAndVerifyClientCert
	url := natsServer(t, "", "", serverTLS).ClientURL()
	if _, err := connect(t, url, topology.NATS{TLS: topology.TLS{CA: own.ca, Cert: own.cert, Key: own.key}}, nil); err != nil {
		t.Error(err)
	}
	for name, secure := range map[string]topology.TLS{
		"another authority":  {CA: other.ca, Cert: own.cert, Key: own.key},
		"the machine's only": {Cert: own.cert, Key: own.key},
		"no certificate":     {CA: own.ca},
		"another's":          {CA: own.ca, Cert: other.cert, Key: other.key},
	} {
		if _, err := connect(t, url, topology.NATS{TLS: secure}, nil, nats.Timeout(patience)); err == nil {
			t.Errorf("with %s a connection is made", name)
		}
	}
}

func TestFilesOfTLSThatCannotBeUsedAreNamed(t *testing.T) {
	own, other := certificates(t), certificates(t)
	open := filepath.Join(t.TempDir(), "open.pem")
	text, err := os.ReadFile(own.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(open, text, 0o600), os.Chmod(open, 0o644)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		files topology.TLS
		code  error
		says  string
	}{
		"no such authority":   {topology.TLS{CA: "/nonexistent"}, topology.ErrTLS, "/nonexistent"},
		"no PEM":              {topology.TLS{CA: "dial.go"}, topology.ErrTLS, "dial.go"},
		"no such certificate": {topology.TLS{Cert: "/nonexistent", Key: own.key}, topology.ErrTLS, "/nonexistent"},
		"no such key":         {topology.TLS{Cert: own.cert, Key: "/nonexistent"}, topology.ErrTLS, "/nonexistent"},
		"another's key":       {topology.TLS{Cert: own.cert, Key: other.key}, topology.ErrTLS, own.cert},
		"an open key":         {topology.TLS{Cert: own.cert, Key: open}, topology.ErrSecretExposed, open},
	} {
		_, natsErr := dial.NATS(topology.NATS{TLS: c.files}, nil)
		_, redisErr := dial.Redis(topology.Redis{Addresses: []string{"rediss://a"}, TLS: c.files}, nil)
		for _, err := range []error{natsErr, redisErr} {
			if !errors.Is(err, c.code) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: the error is %v", name, err)
			}
		}
	}
}

func TestAddressesOfRedisBecomeOptions(t *testing.T) {
	for _, c := range []struct {
		redis   topology.Redis
		addrs   string
		db      int
		tls     bool
		cluster bool
	}{
		{topology.Redis{Addresses: []string{"redis://a"}}, "a:6379", 0, false, false},
		{topology.Redis{Addresses: []string{"redis://a:7000/3"}}, "a:7000", 3, false, false},
		{topology.Redis{Addresses: []string{"redis://[::1]:7000/"}}, "[::1]:7000", 0, false, false},
		{topology.Redis{Addresses: []string{"rediss://a"}}, "a:6379", 0, true, false},
		{topology.Redis{Addresses: []string{"unix:///run/r.sock"}}, "/run/r.sock", 0, false, false},
		{topology.Redis{Addresses: []string{"redis://a", "redis://b:1"}, Cluster: true}, "a:6379 b:1", 0, false, true},
		{topology.Redis{Addresses: []string{"redis://a"}, Cluster: true}, "a:6379", 0, false, true},
	} {
		o, err := dial.Redis(c.redis, nil)
		if err != nil {
			t.Fatal(err)
		}
		client := redis.NewUniversalClient(o)
		_, cluster := client.(*redis.ClusterClient)
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		if strings.Join(o.Addrs, " ") != c.addrs || o.DB != c.db || (o.TLSConfig != nil) != c.tls || cluster != c.cluster {
			t.Errorf("%v becomes %v, database %d, TLS %t, cluster %t", c.redis.Addresses, o.Addrs, o.DB, o.TLSConfig != nil, cluster)
		}
	}
}

func TestAClientLogsInToRedisWithAndWithoutUser(t *testing.T) {
	s := redistest.Start(t)
	if err := s.Client().Do(t.Context(), "ACL", "SETUSER", "tidemark", "on", ">right", "allkeys", "allcommands").Err(); err != nil {
		t.Fatal(err)
	}
	address := []string{"unix://" + s.Options().Addr}
	ping := func(r topology.Redis, env ...string) error {
		t.Helper()
		r.Addresses = address
		o, err := dial.Redis(r, env)
		if err != nil {
			return err
		}
		client := redis.NewUniversalClient(o)
		defer client.Close()
		return client.Ping(t.Context()).Err()
	}
	secret := topology.Secret{Env: "P"}
	if err := ping(topology.Redis{User: "tidemark", Password: secret}, "P=right"); err != nil {
		t.Error(err)
	}
	if err := ping(topology.Redis{User: "tidemark", Password: secret}, "P=wrong"); !redis.IsAuthError(err) {
		t.Errorf("a wrong password gives %v", err)
	}
	if err := ping(topology.Redis{User: "tidemark", Password: secret}); !errors.Is(err, topology.ErrSecret) {
		t.Errorf("a missing password gives %v", err)
	}
	if err := s.Client().ConfigSet(t.Context(), "requirepass", "only").Err(); err != nil {
		t.Fatal(err)
	}
	if err := ping(topology.Redis{Password: secret}, "P=only"); err != nil {
		t.Error(err)
	}
}
