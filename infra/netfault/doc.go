// Package netfault is a wire between two processes that breaks on demand: a TCP proxy on this machine whose connections can be cut, stalled,
// stopped in one direction, delayed and slowed while they are in use. Tests, the demo and fault scripts use it, because not every machine lets
// a program drop packets, and because a process that is merely paused is not a broken link: its kernel still answers.
package netfault
