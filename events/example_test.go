package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
)

// A position is compared through the history of terms: here the second term began at sequence 100, so what the first leader
// wrote from there on was left behind.
func ExampleHistories_Covers() {
	histories := events.Histories{"us": {Lineage: "7f3a09c1", Starts: []uint64{1, 100}}}
	readModel, err := events.ParsePosition("us.7f3a09c1@2:150")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, text := range []string{"us.7f3a09c1@1:99", "us.7f3a09c1@2:151", "us.7f3a09c1@1:105", "us.deadbeef@1:1"} {
		token, err := events.ParsePosition(text)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s %s\n", token, histories.Covers(readModel, token))
	}
	// Output:
	// us.7f3a09c1@1:99 yes
	// us.7f3a09c1@2:151 no
	// us.7f3a09c1@1:105 lost
	// us.deadbeef@1:1 lost
}

func ExampleParsePosition() {
	position, err := events.ParsePosition("us.7f3a@1:1042,eu.09c1@1:77")
	fmt.Println(position, err)
	_, err = events.ParsePosition("1042")
	fmt.Println(err)
	// Output:
	// eu.09c1@1:77,us.7f3a@1:1042 <nil>
	// invalid-position: "1042" is not a position. Pass a position as it was printed, for example us.7f3a@1:1042.
}

// A seat is sold at most once, whoever else sells seats at the same time.
func ExampleMutate() {
	ctx := context.Background()
	log := memlog.New("us", memlog.Options{Lineage: "7f3a09c1"})
	defer log.Close()

	type sold struct{ Seat string }
	flight := events.Entity{Type: "flight", ID: "UA1482"}
	errTaken := errors.New("the seat is taken")
	fold := func(taken map[string]bool, r events.Record) (map[string]bool, error) {
		var s sold
		if err := json.Unmarshal(r.Event.Data, &s); err != nil {
			return nil, err
		}
		if taken == nil {
			taken = map[string]bool{}
		}
		taken[s.Seat] = true
		return taken, nil
	}
	sell := func(seat string) (events.Receipt, error) {
		return events.Mutate(ctx, log, flight, fold, func(taken map[string]bool) ([]events.Event, error) {
			if taken[seat] {
				return nil, errTaken
			}
			data, err := json.Marshal(sold{seat})
			return []events.Event{{Source: "urn:shop:seats", Type: "SeatSold", Data: data}}, err
		})
	}
	for _, seat := range []string{"12A", "12B", "12A"} {
		receipt, err := sell(seat)
		fmt.Println(seat, receipt.Position, err)
	}
	// Output:
	// 12A us.7f3a09c1@1:2 <nil>
	// 12B us.7f3a09c1@1:3 <nil>
	// 12A  the seat is taken
}
