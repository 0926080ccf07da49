package topology

import (
	"crypto/tls"
	"crypto/x509"
	"os"

	"tidemark.dev/events"
)

// Config reads the files and returns the configuration of a client; nil when nothing is set. Errors name the file: ErrTLS, and for a key that every
// user can read ErrSecretExposed.
func (t TLS) Config() (*tls.Config, error) {
	if t.IsZero() {
		return nil, nil //nolint:nilnil // none is what the zero value means
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		text, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, tlsError("the file %s with certificate authorities cannot be read: %w", t.CA, bare(err))
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, tlsError("the file %s holds no certificate in PEM", t.CA)
		}
	}
	if t.Cert == "" {
		return c, nil
	}
	info, err := os.Stat(t.Key)
	if err != nil {
		return nil, tlsError("the private key %s cannot be read: %w", t.Key, bare(err))
	}
	if exposed(t.Key, info.Mode()) {
		return nil, exposedError("the private key", t.Key, info.Mode())
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, tlsError("the certificate %s and the private key %s cannot be used together: %w", t.Cert, t.Key, bare(err))
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

func tlsError(format string, args ...any) error {
	return events.Errorf(ErrTLS, format, args...).Hint("Put PEM files there, readable by this process's user.")
}
