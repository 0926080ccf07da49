package natsobjects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/projections"
)

// TestAPartThatIsMissingIsToldAtOnce: whichever it is, and never by waiting.
func TestAPartThatIsMissingIsToldAtOnce(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	s := open(t, nc, Config{})
	const count = 4
	for lost := range count {
		id := fmt.Sprint("lost-", lost)
		_, err := s.Put(within(t), describing(id, 1), body(count*maxPart))
		must(t, err)
		_, list := parts(t, nc, s, "flights", id)
		if len(list) != count {
			t.Fatalf("%d parts", len(list))
		}
		must(t, stream(t, nc, s).SecureDeleteMsg(within(t), list[lost].Sequence))
		began := time.Now()
		r, err := s.Open(t.Context(), "flights", id)
		must(t, err)
		n, err := io.Copy(io.Discard, r)
		wantCode(t, err, projections.ErrSnapshotDamaged)
		if took := time.Since(began); took > requestTimeout || n >= count*maxPart {
			t.Errorf("part %d is missing: %d bytes were read in %s", lost, n, took)
		}
	}
}

// TestNothingOfADamagedLastPartIsRead: whoever applies what he reads while he reads it has not applied all of it when he learns that it is damaged.
func TestNothingOfADamagedLastPartIsRead(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	s := open(t, nc, Config{})
	for id, size := range map[string]int{"one": 1_000, "three": 2*maxPart + 1_000} {
		_, err := s.Put(within(t), describing(id, 1), body(size))
		must(t, err)
		rewrite(t, nc, s, "flights", id, func(c []byte) []byte { c[0] ^= 1; return c })
		r, err := s.Open(within(t), "flights", id)
		must(t, err)
		n, err := io.Copy(io.Discard, r)
		wantCode(t, err, projections.ErrSnapshotDamaged)
		if n != int64(size-1_000) {
			t.Errorf("%d bytes of %d were read", n, size)
		}
	}
}

func TestABodyIsStoredAsItComesAndASlowReaderReadsAsItCan(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	s := open(t, nc, Config{})
	const count = 64
	stored := func() uint64 {
		info, err := stream(t, nc, s).Info(within(t))
		must(t, err)
		return info.State.Msgs
	}
	var pieces []io.Reader
	for i := range count {
		pieces = append(pieces, &look{func() {
			if n := stored(); n != uint64(i) { //nolint:gosec // small
				t.Errorf("when %d parts have been read, %d are stored", i, n)
			}
		}}, body(maxPart))
	}
	_, err := s.Put(within(t), describing("a", 1), io.MultiReader(pieces...))
	must(t, err)
	r, err := s.Open(t.Context(), "flights", "a") // without a deadline
	must(t, err)
	buffer, total := make([]byte, 100<<10), 0
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for err == nil {
		var n int
		n, err = r.Read(buffer)
		total += n
		<-tick.C
	}
	if !errors.Is(err, io.EOF) || total != count*maxPart {
		t.Errorf("%d bytes of %d were read, %v", total, count*maxPart, err)
	}
	if info, err := stream(t, nc, s).Info(within(t)); err != nil || info.State.Consumers != 0 {
		t.Errorf("%d consumers, %v", info.State.Consumers, err)
	}
}

// look is an empty body that looks when it is read.
type look struct{ at func() }

func (l *look) Read([]byte) (int, error) {
	l.at()
	return 0, io.EOF
}

func TestReadingGoesOnAfterARestart(t *testing.T) {
	server := natstest.Start(t)
	nc := dial(t, server.ClientURL())
	s := open(t, nc, Config{})
	_, err := s.Put(within(t), describing("a", 1), body(4*maxPart))
	must(t, err)
	r, err := s.Open(within(t), "flights", "a")
	must(t, err)
	_, err = io.ReadFull(r, make([]byte, maxPart))
	must(t, err)
	server.Restart()
	eventually(t, "it answers again", func() bool {
		_, err := s.List(within(t), "flights")
		return err == nil
	})
	if n, err := io.Copy(io.Discard, r); err != nil || n != 3*maxPart {
		t.Errorf("%d bytes were read, %v", n, err)
	}
}

func TestPuttingGoesOnAfterARestart(t *testing.T) {
	server := natstest.Start(t)
	nc := dial(t, server.ClientURL())
	s := open(t, nc, Config{})
	cut := &look{server.Restart}
	_, err := s.Put(within(t), describing("a", 1), io.MultiReader(body(2*maxPart), cut, body(2*maxPart+7)))
	must(t, err)
	r, err := s.Open(within(t), "flights", "a")
	must(t, err)
	if n, err := io.Copy(io.Discard, r); err != nil || n != 4*maxPart+7 {
		t.Errorf("%d bytes were read, %v", n, err)
	}
}

// TestAMessageWhoseAcknowledgementWasLostIsSentAgain: what is found behind the expected sequence is the message itself, or it is not.
func TestAMessageWhoseAcknowledgementWasLostIsSentAgain(t *testing.T) {
	s := open(t, dial(t, natstest.Start(t).ClientURL()), Config{})
	subject := s.subject("C.x")
	first, err := s.storePart(within(t), subject, []byte("1"), 0)
	must(t, err)
	second, err := s.storePart(within(t), subject, []byte("2"), first)
	must(t, err)
	if again, err := s.storePart(within(t), subject, []byte("2"), first); err != nil || again != second {
		t.Errorf("again: %d, %v; want %d", again, err, second)
	}
	_, err = s.storePart(within(t), subject, []byte("other"), first)
	wantCode(t, err, projections.ErrSnapshotDamaged)
	held, err := s.subjects(within(t), s.subject(">"))
	must(t, err)
	if held[subject] != 2 {
		t.Errorf("%d messages are stored", held[subject])
	}
	o := jetstream.ObjectInfo{NUID: "x"}
	must(t, describe(&o, describing("a", 1)))
	must(t, s.putDescription(within(t), o, 0))
	must(t, s.putDescription(within(t), o, 0))
	o.NUID = "y"
	if err := s.putDescription(within(t), o, 0); !errors.Is(err, errTaken) {
		t.Errorf("another description of that name: %v", err)
	}
}

func TestABodyThatFailsLeavesNoPart(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	s := open(t, nc, Config{})
	mine := errors.New("mine")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, failed := s.Put(within(t), describing("a", 1), io.MultiReader(body(3*maxPart), &failing{mine}))
	_, cancelled := s.Put(ctx, describing("a", 1), io.MultiReader(body(3*maxPart), &look{cancel}, body(maxPart)))
	if failed != mine || !errors.Is(cancelled, events.ErrUnreachable) { //nolint:errorlint // exactly that one
		t.Errorf("a body that fails: %v; a context that ends: %v", failed, cancelled)
	}
	if info, err := stream(t, nc, s).Info(within(t)); err != nil || info.State.Msgs != 0 {
		t.Errorf("%d messages stayed, %v", info.State.Msgs, err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

// TestADiskThatIsFullIsSaid: the whole snapshot is refused, nothing of it stays, and the others do.
func TestADiskThatIsFullIsSaid(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	s := open(t, nc, Config{})
	config := stream(t, nc, s).CachedInfo().Config
	config.MaxBytes = 5 * maxPart
	_, err := jetStream(t, nc).UpdateStream(within(t), config)
	must(t, err)
	_, err = s.Put(within(t), describing("a", 1), body(2*maxPart))
	must(t, err)
	_, err = s.Put(within(t), describing("b", 2), body(4*maxPart))
	wantCode(t, err, events.ErrUnreachable)
	if !bytes.Contains([]byte(err.Error()), []byte("maximum bytes")) || list(t, s) != "a" {
		t.Errorf("%v; listed: %s", err, list(t, s))
	}
	_, err = s.Put(within(t), describing("b", 2), body(maxPart))
	must(t, err)
}

// TestLeftOverPartsAreSweptAway: those of a writer that died are, and no others.
func TestLeftOverPartsAreSweptAway(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	s := open(t, nc, Config{})
	_, err := s.Put(within(t), describing("a", 1), body(3*maxPart))
	must(t, err)
	_, err = s.storePart(within(t), s.subject("C.dead"), []byte("1"), 0)
	must(t, err)
	left := func() bool {
		t.Helper()
		held, err := s.subjects(within(t), s.subject("C.>"))
		must(t, err)
		return held[s.subject("C.dead")] > 0
	}
	_, err = s.Put(within(t), describing("b", 1), body(10))
	must(t, err)
	if !left() {
		t.Fatal("parts that are young were taken for left over")
	}
	s.age = 0
	// Where a description cannot be read nothing is removed.
	broken := s.descriptionOf("flights", "broken")
	_, err = jetStream(t, nc).Publish(within(t), broken, []byte("{"))
	must(t, err)
	_, err = s.Put(within(t), describing("c", 1), body(10))
	must(t, err)
	if !left() {
		t.Fatal("parts were removed that a description might have named")
	}
	_, err = s.Open(within(t), "flights", "broken")
	wantCode(t, err, projections.ErrSnapshotDamaged)
	must(t, s.Delete(within(t), "flights", "broken"))
	_, err = s.Put(within(t), describing("d", 1), body(10))
	must(t, err)
	if left() {
		t.Error("the parts of a writer that died stayed")
	}
	for _, id := range []string{"a", "b", "c", "d"} {
		r, err := s.Open(within(t), "flights", id)
		must(t, err)
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// TestASnapshotWhosePartsAreSweptAwayMeanwhileIsNotKept: a body may take longer than the patience with left over parts.
func TestASnapshotWhosePartsAreSweptAwayMeanwhileIsNotKept(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	s, other := open(t, nc, Config{}), open(t, nc, Config{})
	other.age = 0
	sweep := &look{func() { must(t, other.sweep(within(t))) }}
	for id, rest := range map[string]io.Reader{"at-the-end": body(0), "in-between": body(maxPart)} {
		_, err := s.Put(within(t), describing(id, 1), io.MultiReader(body(2*maxPart), sweep, rest))
		wantCode(t, err, projections.ErrSnapshotDamaged)
	}
	if info, err := stream(t, nc, s).Info(within(t)); err != nil || info.State.Msgs != 0 {
		t.Errorf("%d messages stayed, %v", info.State.Msgs, err)
	}
}

// TestSettingsMayForbidDirectGets: whoever opened the bucket before is not left without an answer.
func TestSettingsMayForbidDirectGets(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	s := open(t, nc, Config{})
	_, err := s.Put(within(t), describing("a", 1), body(2*maxPart+1))
	must(t, err)
	config := stream(t, nc, s).CachedInfo().Config
	config.AllowDirect = false
	_, err = jetStream(t, nc).UpdateStream(within(t), config)
	must(t, err)
	r, err := s.Open(within(t), "flights", "a")
	must(t, err)
	if n, err := io.Copy(io.Discard, r); err != nil || n != 2*maxPart+1 {
		t.Errorf("%d bytes were read, %v", n, err)
	}
}

func TestPartsFitTheServersBound(t *testing.T) {
	small := natstest.Start(t, func(o *server.Options) { o.MaxPayload = 20 << 10 })
	s := open(t, dial(t, small.ClientURL()), Config{})
	_, err := s.Put(within(t), describing("a", 1), body(100<<10))
	must(t, err)
	r, err := s.Open(within(t), "flights", "a")
	must(t, err)
	if n, err := io.Copy(io.Discard, r); err != nil || n != 100<<10 {
		t.Errorf("%d bytes were read, %v", n, err)
	}
}

// TestTheLeadersAnswerIsUsedWhereAReplicaHasNone pins what a direct get answers for a part that is not there.
func TestTheLeadersAnswerIsUsedWhereAReplicaHasNone(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	s := open(t, nc, Config{})
	_, _, err := s.readPart(within(t), s.subject("C.none"), 1)
	if !errors.Is(err, natsapi.ErrNoMessage) {
		t.Errorf("a part that is not there: %v", err)
	}
	m, err := nc.RequestMsgWithContext(within(t), &nats.Msg{Subject: "$JS.API.DIRECT.GET." + s.api.Stream, Data: []byte(`{"seq":1,"next_by_subj":"` + s.subject("C.none") + `"}`)})
	if err != nil || m.Header.Get("Status") != "404" {
		t.Errorf("%v, %v", m, err)
	}
}
