package parts_test

import (
	"errors"
	"testing"
	"time"

	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/parts"
)

func TestTheEnvironmentSaysWhatAProjectorKeeps(t *testing.T) {
	env := func(pairs map[string]string) func(string) string {
		return func(name string) string { return pairs[name] }
	}
	o, err := parts.ProjectorOptions(env(nil))
	if err != nil || o.Keep != time.Hour || o.SnapshotInterval != time.Hour || o.SnapshotCount != 3 {
		t.Errorf("by default %+v, %v", o, err)
	}
	o, err = parts.ProjectorOptions(env(map[string]string{"TIDEMARK_ROLLBACK_WINDOW": "0", "TIDEMARK_SNAPSHOT_INTERVAL": "90m", "TIDEMARK_SNAPSHOT_COUNT": "7"}))
	if err != nil || o.Keep != 0 || o.SnapshotInterval != 90*time.Minute || o.SnapshotCount != 7 {
		t.Errorf("as it says %+v, %v", o, err)
	}
	for name, text := range map[string]string{"TIDEMARK_ROLLBACK_WINDOW": "an hour", "TIDEMARK_SNAPSHOT_INTERVAL": "-1h", "TIDEMARK_SNAPSHOT_COUNT": "0"} {
		if _, err := parts.ProjectorOptions(env(map[string]string{name: text})); !errors.Is(err, failure.ErrUsage) {
			t.Errorf("%s=%s: %v", name, text, err)
		}
	}
}
