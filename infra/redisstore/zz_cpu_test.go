package redisstore_test

import (
	"io"
	"slices"
	"github.com/redis/go-redis/v9"
	"tidemark.dev/projections"
	"fmt"
	"strings"
	"strconv"
	"syscall"
	"testing"
	"context"
)

func (w *workload) serverCPU() float64 {
	info := w.client.Info(context.Background(), "cpu").Val()
	t := 0.0
	for _, l := range strings.Split(info, "\r\n") {
		for _, p := range []string{"used_cpu_sys_main_thread:", "used_cpu_user_main_thread:"} {
			if v, ok := strings.CutPrefix(l, p); ok { f, _ := strconv.ParseFloat(v, 64); t += f }
		}
	}
	return t
}
func clientCPU() float64 { var r syscall.Rusage; syscall.Getrusage(0, &r); return float64(r.Utime.Sec+r.Stime.Sec) + float64(r.Utime.Usec+r.Stime.Usec)/1e6 }

func cpu(b *testing.B, f func(w *workload)) {
	w := newWorkload(b)
	f(w)
	b.ResetTimer()
	s, c := w.serverCPU(), clientCPU()
	for range b.N { f(w) }
	n := float64(b.N) * benchDocuments / 1e6
	b.ReportMetric((w.serverCPU()-s)/n, "server-us/doc")
	b.ReportMetric((clientCPU()-c)/n, "client-us/doc")
	_ = fmt.Sprint
}
func BenchmarkCPUApply(b *testing.B) { cpu(b, func(w *workload) { w.apply(b) }) }
func BenchmarkCPUTx5(b *testing.B) { cpu(b, func(w *workload) { w.transaction(b, false) }) }
func BenchmarkCPUTx7(b *testing.B) { cpu(b, func(w *workload) { w.transaction(b, true) }) }
func BenchmarkCPULoad(b *testing.B) { cpu(b, func(w *workload) { w.store.Load(b.Context(), w.g, w.def, w.refs) }) }
func BenchmarkCPULoadYardstick(b *testing.B) { cpu(b, func(w *workload) {
		p := w.client.Pipeline()
		for _, r := range w.refs {
			p.HGetAll(b.Context(), docKey(w.g, r))
		}
		p.Exec(b.Context())
}) }

func pipe[C redis.Cmder](b *testing.B, w *workload, mk func(k string) C, use func(C)) {
		p := w.client.Pipeline()
		cs := make([]C, len(w.refs))
		for i, r := range w.refs {
			cs[i] = mk(w.g1(r))
			p.Process(b.Context(), cs[i])
		}
		p.Exec(b.Context())
		for _, c := range cs { use(c) }
}
func (w *workload) g1(r projections.Ref) string { return "tm:{flights.1." + fmt.Sprintf("%02d", r.Partition) + "}:doc:" + r.Key }
func BenchmarkCPURKV(b *testing.B) { cpu(b, func(w *workload) { pipe(b, w, func(k string) *redis.KeyValueSliceCmd { return redis.NewKeyValueSliceCmd(context.Background(), "hgetall", k) }, func(c *redis.KeyValueSliceCmd) { if len(c.Val()) != 7 { b.Fatal(c.Err()) } }) }) }
func BenchmarkCPURMap(b *testing.B) { cpu(b, func(w *workload) { pipe(b, w, func(k string) *redis.MapStringStringCmd { return redis.NewMapStringStringCmd(context.Background(), "hgetall", k) }, func(c *redis.MapStringStringCmd) { if len(c.Val()) != 7 { b.Fatal(c.Err()) } }) }) }
func BenchmarkCPURRaw(b *testing.B) { cpu(b, func(w *workload) { pipe(b, w, func(k string) *redis.RawCmd { return redis.NewRawCmd(context.Background(), "hgetall", k) }, func(c *redis.RawCmd) { if len(c.Val()) < 7 { b.Fatal(c.Err()) } }) }) }
func BenchmarkCPURCmd(b *testing.B) { cpu(b, func(w *workload) { pipe(b, w, func(k string) *redis.Cmd { return redis.NewCmd(context.Background(), "hgetall", k) }, func(c *redis.Cmd) {  }) }) }
type sink struct{ b []byte }
func (s *sink) Write(p []byte) (int, error) { s.b = append(s.b, p...); return len(p), nil }
func (s *sink) ReadFrom(r io.Reader) (int64, error) { l := r.(*io.LimitedReader); n := int(l.N); k := len(s.b); s.b = slices.Grow(s.b, n)[:k+n]; m, err := io.ReadFull(l.R, s.b[k:]); l.N -= int64(m); return int64(m), err }
func BenchmarkCPURWriteTo(b *testing.B) { cpu(b, func(w *workload) { sk := &sink{}; pipe(b, w, func(k string) *redis.RawWriteToCmd { return redis.NewRawWriteToCmd(context.Background(), sk, "hgetall", k) }, func(c *redis.RawWriteToCmd) {  }); if len(sk.b) < 100000 { b.Fatal("short") } }) }
func BenchmarkCPNApply(b *testing.B) { cpu(b, func(w *workload) { w.client.ConfigSet(context.Background(),"appendonly","no"); w.apply(b) }) }
func BenchmarkCPNTx5(b *testing.B) { cpu(b, func(w *workload) { w.client.ConfigSet(context.Background(),"appendonly","no");w.transaction(b, false) }) }
func BenchmarkCPNTx7(b *testing.B) { cpu(b, func(w *workload) { w.client.ConfigSet(context.Background(),"appendonly","no");w.transaction(b, true) }) }
