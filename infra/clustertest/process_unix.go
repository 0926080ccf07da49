//go:build unix && !linux

package clustertest

import "syscall"

// childAttr puts a child into a process group of its own. This system does not end it with its parent.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
