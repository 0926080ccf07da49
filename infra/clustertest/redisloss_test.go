package clustertest_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/infra/redistest"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// embeddedNATS starts one server for a test.
func embeddedNATS(t *testing.T) *nats.Conn {
	t.Helper()
	path, err := os.MkdirTemp("", "tm-one-")
	must(t, err)
	dir, err := embedded.OpenDir(path)
	must(t, err)
	server, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Region: "us", Dir: dir, LazySync: true})
	must(t, err)
	nc, err := server.Connect()
	must(t, err)
	t.Cleanup(func() {
		nc.Close()
		server.Shutdown()
		if err := errors.Join(dir.Close(), os.RemoveAll(path)); err != nil {
			t.Error(err)
		}
	})
	return nc
}

// TestARedisThatLosesItsDataNeverLies takes the read model away under writes and queries. What queries were told meanwhile is compared with the
// log afterwards: an answer is true at the position it names, or a refusal.
func TestARedisThatLosesItsDataNeverLies(t *testing.T) {
	for name, disaster := range map[string]func(*redistest.Server, *region, *ledger){
		"emptied": func(s *redistest.Server, _ *region, l *ledger) {
			for range 3 {
				s.FlushAll()
				l.more(50)
			}
		},
		"killed and started again": func(s *redistest.Server, _ *region, l *ledger) {
			s.Kill()
			l.more(50)
			s.Restart()
		},
		"started from an older copy": func(s *redistest.Server, _ *region, l *ledger) {
			older := s.Backup()
			l.more(200)
			s.Kill()
			s.Restore(older)
			s.Restart()
		},
		"started from a copy of before a replay": func(s *redistest.Server, r *region, l *ledger) {
			older := s.Backup()
			r.replay(tallies)
			l.more(50)
			s.Kill()
			s.Restore(older)
			s.Restart()
		},
		"replaced by an empty one": func(s *redistest.Server, _ *region, l *ledger) {
			s.Stop()
			s.Discard()
			l.more(50)
			s.Restart()
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			r := openRegion(t, embeddedNATS(t), server.Client(), "us", 1, natslog.Options{})
			r.project(projection(t), "one")
			l := r.write()
			l.more(200)
			r.answers()
			asked := r.ask(l.keys(), &l.written)
			l.more(100)
			disaster(server, r, l)
			l.more(100)
			r.answers()
			l.close()
			h := r.equal()
			l.weigh(t, h)
			asked.weigh(t, h)
		})
	}
}

// replay builds the read model anew and waits for the end.
func (r *region) replay(name string) projections.Replay {
	r.t.Helper()
	asked, err := projections.RequestReplay(r.t.Context(), r.kv, name, "test", time.Now())
	must(r.t, err)
	return r.replayed(asked)
}

// replayed waits until a replay is done.
func (r *region) replayed(asked projections.Replay) (job projections.Replay) {
	r.t.Helper()
	eventually(r.t, "the replay of "+asked.Projection+" is done", func() bool {
		var err error
		job, _, err = projections.ReadJSON[projections.Replay](r.t.Context(), r.kv, projections.ReplayKey(asked.Projection))
		return err == nil && job.ID == asked.ID && job.State == projections.ReplayDone
	})
	return job
}

// answers waits until a query is answered.
func (r *region) answers() {
	r.t.Helper()
	eventually(r.t, "the read model answers", func() bool {
		_, err := r.reader.Get(r.t.Context(), tallies, own(1), query.Options{})
		return err == nil || errors.Is(err, projections.ErrNoDocument)
	})
}
