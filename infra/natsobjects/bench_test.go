package natsobjects

import (
	"fmt"
	"io"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"tidemark.dev/infra/natstest"
)

// BenchmarkPutAndRead moves 64 MiB one way or the other, with one server in this process.
func BenchmarkPutAndRead(b *testing.B) {
	const size = 64 << 20
	for _, sync := range []bool{false, true} {
		server := natstest.Start(b, func(o *server.Options) { o.SyncAlways = sync })
		s := open(b, dial(b, server.ClientURL()), Config{})
		put := func(id string) {
			_, err := s.Put(b.Context(), describing(id, 1), body(size))
			must(b, err)
		}
		b.Run(fmt.Sprintf("put/flushed=%t", sync), func(b *testing.B) {
			b.SetBytes(size)
			for i := range b.N {
				put(fmt.Sprint("b-", b.N, "-", i))
			}
		})
		put("a")
		b.Run(fmt.Sprintf("read/flushed=%t", sync), func(b *testing.B) {
			b.SetBytes(size)
			for range b.N {
				r, err := s.Open(b.Context(), "flights", "a")
				must(b, err)
				_, err = io.Copy(io.Discard, r)
				must(b, err)
			}
		})
	}
}
