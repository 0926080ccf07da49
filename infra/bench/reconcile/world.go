package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/infra/redisstore"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
)

// patience bounds every wait.
const patience = 15 * time.Minute

// world is one region: a log, a Redis, a projector that runs, and somebody who writes.
type world struct {
	c      config
	dir    *embedded.Dir
	nats   *embedded.NATS
	nc     *nats.Conn
	stop   func()
	log    events.Log
	proj   projections.Projection
	store  *redisstore.Store
	kv     projections.KV
	leases projections.Leases
	redis  *redis.Client
	marks  *marks.Writer
	ledger *ledger

	server atomic.Pointer[embedded.Redis] // nil while it is stopped
	live   sync.Mutex                     // held while nobody writes
	ended  error                          // of whoever writes
	tasks  sync.WaitGroup
	cancel context.CancelFunc
	// unfollow ends the projector.
	unfollow func()
}

// open starts everything but the projector, and writes the log.
func (w *world) open(ctx context.Context) (err error) {
	if err := w.openLog(ctx); err != nil {
		return err
	}
	if err := w.startRedis(ctx); err != nil {
		return err
	}
	o := w.server.Load().Options()
	o.Dialer = w.dial
	w.redis = redis.NewClient(o)
	if w.store, err = redisstore.New(w.redis, redisstore.Options{}); err != nil {
		return err
	}
	if w.proj, err = w.c.projection(); err != nil {
		return err
	}
	w.kv, w.leases, w.marks = memstore.NewKV(), memstore.NewLeases(), marks.New(w.log, marks.Options{})
	w.ledger = newLedger(&w.c)
	return w.fill(ctx)
}

func (w *world) openLog(ctx context.Context) (err error) {
	if w.c.memory {
		log := memlog.New(origin, memlog.Options{})
		w.log, w.stop = log, log.Close
		return nil
	}
	if w.nats, err = embedded.StartNATS(ctx, embedded.NATSConfig{Region: origin, Dir: w.dir, LazySync: true}); err != nil {
		return err
	}
	if w.nc, err = w.nats.Connect(); err != nil {
		return err
	}
	if err := natslog.Setup(ctx, w.nc, natslog.Config{Origin: origin}); err != nil {
		return err
	}
	log, err := natslog.Open(ctx, w.nc, natslog.Config{Origin: origin}, natslog.Options{Commit: natslog.GroupCommit})
	if err != nil {
		return err
	}
	w.log, w.stop = log, log.Close
	return nil
}

// dial finds the server also after a restart.
func (w *world) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	s := w.server.Load()
	if s == nil {
		return nil, errors.New("the server is stopped")
	}
	var d net.Dialer
	return d.DialContext(ctx, s.Options().Network, s.Options().Addr)
}

func (w *world) startRedis(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := embedded.StartRedis(ctx, embedded.RedisConfig{Mode: embedded.ModeServer, Dir: w.dir, StopTimeout: patience})
	if err != nil {
		return err
	}
	w.server.Store(s)
	return nil
}

func (w *world) stopRedis() error {
	if s := w.server.Swap(nil); s != nil {
		return s.Close()
	}
	return nil
}

// files is where the append-only file is.
func (w *world) files() string { return filepath.Join(w.dir.Path(), "redis") }

// compact has Redis write its file anew, and waits.
func (w *world) compact(ctx context.Context) error {
	if err := w.redis.BgRewriteAOF(ctx).Err(); err != nil && !redis.HasErrorPrefix(err, "ERR Background append only file rewriting already in progress") {
		return err
	}
	return w.until(ctx, "Redis wrote its file anew", func() (bool, error) {
		info, err := w.redis.InfoMap(ctx, "persistence").Result()
		p := info["Persistence"]
		return p["aof_rewrite_in_progress"] == "0" && p["aof_rewrite_scheduled"] == "0", err
	})
}

// until waits until something holds.
func (w *world) until(ctx context.Context, what string, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		}
	}
}

// fill writes the log: first of each entity one event, then some more.
func (w *world) fill(ctx context.Context) error {
	for from := 0; from < w.c.events; from += events.MaxBatch {
		entities := make([]int, min(events.MaxBatch, w.c.events-from))
		for i := range entities {
			entities[i] = w.ledger.entity(from + i)
		}
		if err := w.book(ctx, entities...); err != nil {
			return err
		}
	}
	return nil
}

// book writes an event about each of some entities, and enters it into the ledger.
func (w *world) book(ctx context.Context, entities ...int) error {
	pending := make([]*events.Pending, len(entities))
	bookings := make([]booking, len(entities))
	for i, entity := range entities {
		var e events.Event
		e, bookings[i] = booked(w.ledger.written, entity)
		w.ledger.written++
		var err error
		if pending[i], err = w.log.Submit(ctx, events.One(e, events.ExpectAny())); err != nil {
			return err
		}
	}
	for i, entity := range entities {
		receipt, err := pending[i].Wait(ctx)
		if err != nil {
			return err
		}
		if err := w.ledger.enter(entity, &bookings[i], &receipt); err != nil {
			return err
		}
	}
	return nil
}

// start runs the projector and whoever writes.
func (w *world) start(ctx context.Context) error {
	ctx, w.cancel = context.WithCancel(ctx)
	return w.follow(ctx, projector.Options{})
}

// follow runs a projector until ctx ends, or unfollow is called.
func (w *world) follow(ctx context.Context, o projector.Options) error {
	o.Logger = slog.New(slog.DiscardHandler)
	worker, err := projector.New(w.proj, w.log, w.store, w.kv, w.leases, o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	w.unfollow = func() { cancel(); <-ended }
	w.tasks.Go(func() {
		defer close(ended)
		_ = worker.Run(ctx) // returns nil
	})
	return nil
}

// write writes events, and marks, until ctx ends.
func (w *world) write(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	before := w.cancel
	w.cancel = func() { cancel(); before() }
	w.tasks.Go(func() { _ = w.marks.Run(ctx) }) // returns nil
	w.tasks.Go(func() {
		const steps = 50 // a second
		tick := time.NewTicker(time.Second / steps)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			entities := make([]int, w.c.live*(n+1)/steps-w.c.live*n/steps)
			w.live.Lock()
			for i := range entities {
				entities[i] = w.ledger.busy()
			}
			if err := w.book(ctx, entities...); err != nil && ctx.Err() == nil && w.ended == nil {
				w.ended = err
			}
			w.live.Unlock()
		}
	})
}

// settled stops writing until resume is called, and returns when the read model has everything that was written.
func (w *world) settled(ctx context.Context) (resume func(), err error) {
	w.live.Lock()
	err = w.ended
	if err == nil {
		err = w.reach(ctx)
	}
	if err != nil {
		w.live.Unlock()
		return nil, err
	}
	return w.live.Unlock, nil
}

// reach waits until every partition has passed a mark that is written now.
func (w *world) reach(ctx context.Context) error {
	at, err := w.marks.Now(ctx)
	if err != nil {
		return err
	}
	point, _ := at.Point(origin)
	return w.until(ctx, "the read model has everything", func() (bool, error) {
		gen, err := w.generation(ctx)
		if err != nil || gen.Number == 0 {
			return false, err
		}
		headers, err := w.store.Headers(ctx, gen)
		if err != nil {
			return false, err
		}
		for i := range headers {
			if h := &headers[i]; h.State != projections.Live || projections.SequenceOf(h.Checkpoint) < point.Sequence {
				return false, nil
			}
		}
		return true, nil
	})
}

// marked writes marks until they cover the log. In a log that was not written all at once they do, and whoever writes them has nothing to read but what is new.
func (w *world) marked(ctx context.Context) error {
	for {
		at, err := w.marks.Now(ctx)
		if err != nil {
			return err
		}
		point, _ := at.Point(origin)
		record, err := w.log.Record(ctx, point.Sequence)
		if err != nil {
			return err
		}
		if m, ok := events.MarkOf(&record); !ok || m.Upto+1 >= record.Sequence {
			return nil
		}
	}
}

func (w *world) generation(ctx context.Context) (projections.Generation, error) {
	pointer, _, err := projections.ReadPointer(ctx, w.kv, name)
	if err != nil || pointer.Generation == 0 {
		return projections.Generation{}, err
	}
	return pointer.Live(name), nil
}

func (w *world) close() {
	if w.cancel != nil {
		w.cancel()
		w.unfollow()
	}
	w.tasks.Wait()
	if w.redis != nil {
		_ = w.redis.Close() // nothing is lost with it
	}
	if err := w.stopRedis(); err != nil {
		fmt.Fprintln(os.Stderr, "reconcile:", err)
	}
	if w.stop != nil {
		w.stop()
	}
	if w.nc != nil {
		w.nc.Close()
	}
	if w.nats != nil {
		w.nats.Shutdown()
	}
}
