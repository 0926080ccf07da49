package room

import (
	"context"
	"errors"
	"testing"
	"time"
)

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it did not come true in time that %s", what)
		}
	}
}

func TestRoomLetsInOneAfterTheOther(t *testing.T) {
	closed := errors.New("closed")
	r := New(10, func() error { return closed })
	ctx := context.Background()
	if err := r.Enter(ctx, 8); err != nil {
		t.Fatal(err)
	}
	large, small := make(chan error, 1), make(chan error, 1)
	go func() { large <- r.Enter(ctx, 9) }()
	eventually(t, "the large one waits", func() bool { return r.waiting() == 1 })
	go func() { small <- r.Enter(ctx, 1) }()
	eventually(t, "the small one waits behind it, though there is room", func() bool { return r.waiting() == 2 })
	gone, cancel := context.WithCancelCause(ctx)
	cause := errors.New("gone")
	left := make(chan error, 1)
	go func() { left <- r.Enter(gone, 1) }()
	eventually(t, "a third waits", func() bool { return r.waiting() == 3 })
	cancel(cause)
	if err := <-left; !errors.Is(err, cause) {
		t.Error(err)
	}
	r.Leave(8)
	if err := <-large; err != nil {
		t.Error(err)
	}
	if err := <-small; err != nil {
		t.Error(err)
	}
	waits := make(chan error, 1)
	go func() { waits <- r.Enter(ctx, 1) }()
	eventually(t, "it is full", func() bool { return r.waiting() == 1 })
	r.Close()
	if err := <-waits; !errors.Is(err, closed) {
		t.Error(err)
	}
	if err := r.Enter(ctx, 1); !errors.Is(err, closed) {
		t.Error(err)
	}
}

func (r *Room) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.line)
}
