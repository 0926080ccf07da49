package events

import (
	"os"
	"strings"
	"testing"
)

func TestATestHasAFolderOfItsOwn(t *testing.T) {
	if !strings.HasPrefix(t.TempDir(), os.TempDir()) {
		t.Error(t.TempDir())
	}
}
