//go:build !unix

package embedded

import (
	"errors"
	"net"
	"syscall"
)

// Without a lock on the data directory no private server is started on this system; see tryLock.

func childAttr() *syscall.SysProcAttr { return nil }

func killGroup(int) error { return errors.ErrUnsupported }

func peerPID(net.Conn) int { return 0 }
