package importer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/services/internal/importer"
)

// slow is a region that confirms some records at each look, and one that is cut off.
type slow struct {
	log   events.Reader
	step  uint64
	floor uint64
	worst uint64 // the largest distance between the log and the floor that was seen
	looks int
}

func (s *slow) Floors(ctx context.Context) ([]events.Floor, error) {
	info, err := s.log.Info(ctx)
	if err != nil {
		return nil, err
	}
	s.looks++
	s.worst = max(s.worst, info.Last-s.floor)
	s.floor = min(s.floor+s.step, info.Last)
	return []events.Floor{{Region: "ap"}, {Region: "eu", Sequence: s.floor, Connected: true}, {Region: "us", Sequence: info.Last, Connected: true}}, nil
}

// TestAnImportThatIsHeldBackSaysForWhom: a region that follows and does not move holds it, and that is said once.
func TestAnImportThatIsHeldBackSaysForWhom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New("us", memlog.Options{})
		defer log.Close()
		m, err := importer.ParseMap([]byte("name: n\nsource: urn:t\nevents: [{type: T, entity: \"a/{k}\"}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var told []events.Floor
		_, err = importer.Run(ctx, log, m, strings.NewReader(strings.Repeat("{\"k\":1}\n", 100)), importer.Options{
			Batch: 10, Ahead: 10, Floors: &slow{log: log}, Held: func(f events.Floor) { told = append(told, f) },
		})
		if !errors.Is(err, context.DeadlineExceeded) || len(told) != 1 || told[0].Region != "eu" {
			t.Errorf("it ended with %v and said %v", err, told)
		}
	})
}

func TestAnImportStaysCloseToTheSlowestRegionThatFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lines, batch, ahead = 1_000, 10, 30
		log := memlog.New("us", memlog.Options{})
		defer log.Close()
		m, err := importer.ParseMap([]byte("name: n\nsource: urn:t\nevents: [{type: T, entity: \"a/{k}\"}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		var input bytes.Buffer
		for i := range lines {
			fmt.Fprintf(&input, "{\"k\":%d}\n", i)
		}
		region := &slow{log: log, step: 7}
		begun := time.Now()
		result, err := importer.Run(t.Context(), log, m, &input, importer.Options{Batch: batch, Floors: region, Ahead: ahead})
		if err != nil || result.AddedEvents != lines {
			t.Fatalf("%+v, %v", result, err)
		}
		if region.worst > ahead+batch+1 || region.looks < lines/10 || time.Since(begun) == 0 {
			t.Errorf("it was up to %d records ahead, at %d looks", region.worst, region.looks)
		}
	})
}
