package natsobjects

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/infra/natstest"
)

// What doc.go says of the client's own object store, as of nats.go 1.55. When one of these fails, look whether the client can be used by now.

func theirs(t *testing.T) (*nats.Conn, *Snapshots, jetstream.ObjectStore) {
	t.Helper()
	nc := dial(t, natstest.Start(t).ClientURL())
	s := open(t, nc, Config{})
	o, err := jetStream(t, nc).ObjectStore(within(t), bucket)
	must(t, err)
	return nc, s, o
}

func TestTheClientListsAnObjectWhosePartsWereRefused(t *testing.T) {
	nc, s, o := theirs(t)
	config := stream(t, nc, s).CachedInfo().Config
	config.MaxBytes = 300 << 10
	_, err := jetStream(t, nc).UpdateStream(within(t), config)
	must(t, err)
	for range 20 { // whether it notices in time is a matter of luck
		_, put := o.Put(within(t), jetstream.ObjectMeta{Name: "a"}, body(384<<10)) // three parts, of which two fit
		info, listed := o.GetInfo(within(t), "a")
		if put == nil {
			t.Fatal("three parts were stored where two fit")
		}
		if listed == nil && info.Chunks == 3 {
			return
		}
	}
	t.Error("it never listed the object")
}

func TestTheClientLeavesPartsWhenTheContextEnds(t *testing.T) {
	nc, s, o := theirs(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := o.Put(ctx, jetstream.ObjectMeta{Name: "a"}, io.MultiReader(body(256<<10), &look{cancel}, body(256<<10)))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	must(t, nc.FlushWithContext(within(t)))
	eventually(t, "parts stay", func() bool { // what takes them in is another part of the server than what is asked
		info, err := stream(t, nc, s).Info(within(t))
		return err == nil && info.State.Msgs > 0
	})
}

func TestTheClientReplacesWhatIsThere(t *testing.T) {
	_, _, o := theirs(t)
	for _, text := range []string{"first", "second"} {
		_, err := o.PutString(within(t), "a", text)
		must(t, err)
	}
	if got, err := o.GetString(within(t), "a"); err != nil || got != "second" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestTheClientWaitsForAPartThatIsMissing: as long as the context lets it, when all of them are. When some are there, it finds that the digest is another.
func TestTheClientWaitsForAPartThatIsMissing(t *testing.T) {
	nc, s, o := theirs(t)
	_, err := o.PutBytes(within(t), "a", make([]byte, 300<<10))
	must(t, err)
	info, err := o.GetInfo(within(t), "a")
	must(t, err)
	subject := s.subject("C." + info.NUID)
	last, err := stream(t, nc, s).GetLastMsgForSubject(within(t), subject)
	must(t, err)
	must(t, stream(t, nc, s).DeleteMsg(within(t), last.Sequence))
	_, err = o.GetBytes(within(t), "a")
	if !errors.Is(err, jetstream.ErrDigestMismatch) {
		t.Errorf("without its last part: %v", err)
	}
	must(t, stream(t, nc, s).Purge(within(t), jetstream.WithPurgeSubject(subject)))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	_, err = o.GetBytes(ctx, "a")
	if took := time.Since(began); err == nil || took < 900*time.Millisecond {
		t.Errorf("without any part: %v after %s", err, took)
	}
}

// TestTheClientEndsAReadingAfterFiveSecondsWithoutADeadline: however the reader goes on.
func TestTheClientEndsAReadingAfterFiveSecondsWithoutADeadline(t *testing.T) {
	_, _, o := theirs(t)
	_, err := o.PutBytes(within(t), "a", make([]byte, 4<<20))
	must(t, err)
	r, err := o.Get(t.Context(), "a")
	must(t, err)
	defer r.Close()
	began, buffer := time.Now(), make([]byte, 1<<10)
	tick := time.NewTicker(5 * time.Millisecond) // 20 s for all of it
	defer tick.Stop()
	for err == nil {
		_, err = r.Read(buffer)
		<-tick.C
	}
	if took := time.Since(began); errors.Is(err, io.EOF) || took > 10*time.Second {
		t.Errorf("%v after %s", err, took)
	}
}
