package region

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
)

// slowFloors answers after some time with a growing floor.
type slowFloors struct{ asked atomic.Uint64 }

func (s *slowFloors) Floors(ctx context.Context) ([]events.Floor, error) {
	n := s.asked.Add(1)
	select {
	case <-time.After(20 * time.Millisecond):
		return []events.Floor{{Region: "us", Sequence: n, Connected: true}}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func TestManyWhoWaitToBeConfirmedAskTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := &slowFloors{}
		shared := shareFloors(asked)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var waiting sync.WaitGroup
		for range 500 {
			waiting.Go(func() {
				for ctx.Err() == nil {
					all, err := shared.Floors(ctx)
					if err == nil && (len(all) != 1 || asked.asked.Load()-all[0].Sequence > 1) {
						t.Errorf("the floors are %+v after %d questions", all, asked.asked.Load())
					}
					time.Sleep(5 * time.Millisecond) // in a bubble this costs nothing
				}
			})
		}
		waiting.Wait()
		if n := asked.asked.Load(); n < 5 || n > 20 {
			t.Errorf("it was asked %d times in a second", n)
		}
	})
}

func TestWhoGivesUpDoesNotAnswerForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := shareFloors(&slowFloors{})
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if _, err := shared.Floors(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who gave up got %v", err)
			}
		})
		synctest.Wait()
		if all, err := shared.Floors(t.Context()); err != nil || len(all) != 1 {
			t.Errorf("who waited got %+v, %v", all, err)
		}
		waiting.Wait()
	})
}
