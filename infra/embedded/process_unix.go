//go:build unix && !linux

package embedded

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttr puts a child into its own process group. This system does not end it with its parent: see endOrphan.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// killGroup kills a child that childAttr was used for, and its own children.
func killGroup(pid int) error { return unix.Kill(-pid, unix.SIGKILL) }

// peerPID returns 0: unknown.
func peerPID(net.Conn) int { return 0 }
