package topology

import (
	"io/fs"
	"testing"
)

// TestWhereSecretsAreMountedTheirModeIsThePlatforms: Docker mounts with 0444, Kubernetes with 0644.
func TestWhereSecretsAreMountedTheirModeIsThePlatforms(t *testing.T) {
	for _, c := range []struct {
		name    string
		mode    fs.FileMode
		exposed bool
	}{
		{"/etc/secret", 0o600, false},
		{"/etc/secret", 0o640, false},
		{"/etc/secret", 0o644, true},
		{"/etc/secret", 0o602, true},
		{"/run/secrets/nats", 0o444, false},
		{"/var/run/secrets/app/nats", 0o644, false},
		{"/run/secrets/nats", 0o646, true},
		{"/run/secrets/../../etc/secret", 0o644, true},
		{"/run/secretsandmore", 0o644, true},
	} {
		if got := exposed(c.name, c.mode); got != c.exposed {
			t.Errorf("exposed(%s, %04o) is %t", c.name, c.mode, got)
		}
	}
}
