//go:build unix

package embedded

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const errLocked = unix.EWOULDBLOCK

// tryLock takes the exclusive lock of an open file, or returns errLocked. The lock belongs to the open file, so a second
// one in the same process is refused too, and the kernel drops it when the process dies. Children do not inherit it:
// files are opened close-on-exec.
func tryLock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
