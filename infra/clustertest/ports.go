package clustertest

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
)

const (
	host = "127.0.0.1"
	// Ports are taken from below the range that the system takes them from for outgoing connections, so that a node which is started
	// again finds its own free, and from below those of natstest.
	lowestPort, ports = 11_000, 2_000
	// busOffset is how far the port of a Redis node's cluster bus is above that of its clients.
	busOffset = 10_000
	portTries = 1_000
)

// given counts the ports that this process was given: none is given again before all others were, or the nodes of a cluster could take another's node for their dead one.
var given atomic.Int64

// freePorts returns ports on which nobody listens; nor does anybody on those busOffset above them.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var found []int
	var held []net.Listener // all at once, so that they differ
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	for range portTries {
		if len(found) == n {
			return found
		}
		port := lowestPort + (101*os.Getpid()+int(given.Add(1)))%ports
		a, err := net.Listen("tcp", address(port))
		if err != nil {
			continue
		}
		held = append(held, a)
		b, err := net.Listen("tcp", address(port+busOffset))
		if err != nil {
			continue
		}
		held = append(held, b)
		found = append(found, port)
	}
	t.Fatalf("clustertest: after %d tries there are %d of %d free ports", portTries, len(found), n)
	return nil
}

func address(port int) string { return fmt.Sprintf("%s:%d", host, port) }
