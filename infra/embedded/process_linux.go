package embedded

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttr puts a child into its own process group, and lets the kernel kill it when the thread that started it ends.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// killGroup kills a child that childAttr was used for, and its own children.
func killGroup(pid int) error { return unix.Kill(-pid, unix.SIGKILL) }

// peerPID returns the process that listens at the other end of a unix socket, or 0.
func peerPID(conn net.Conn) int {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); cerr != nil || err != nil {
		return 0
	}
	return int(cred.Pid)
}
