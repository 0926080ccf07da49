package httpapi

import (
	"strconv"
	"strings"

	"tidemark.dev/events"
)

// expectations reads the header Tidemark-Expect: "any", "none" or a sequence, when all events are about one entity; or for each entity of
// which something is expected, joined by commas:
//
//	airport/ORD=12,airport/JFK=none
//
// An entity is percent-encoded where it has a comma, an equals sign, a percent sign, or a byte that a header cannot have.
func expectations(values []string, list []events.Event) (map[events.Entity]events.Expectation, error) {
	if len(values) == 0 || len(list) == 0 {
		return nil, nil //nolint:nilnil // nothing is expected
	}
	header := strings.Join(values, ",")
	if !strings.Contains(header, "=") {
		x, err := ParseExpectation(strings.TrimSpace(header))
		if err != nil {
			return nil, err
		}
		for i := range list {
			if list[i].Entity != list[0].Entity {
				return nil, events.Errorf(events.ErrInvalidBatch, "%s names no entity, and the events are about several; nothing was written", headerExpect).
					Hint("Name them: airport/ORD=12,airport/JFK=none.")
			}
		}
		return map[events.Entity]events.Expectation{list[0].Entity: x}, nil
	}
	out := make(map[events.Entity]events.Expectation)
	for item := range strings.SplitSeq(header, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(item), "=")
		text, decoded := decodeHeader(name)
		if !ok || !decoded {
			return nil, badExpectation(item)
		}
		x, err := ParseExpectation(value)
		if err != nil {
			return nil, err
		}
		entity, err := events.ParseEntity(text)
		if err != nil {
			return nil, err
		}
		if _, twice := out[entity]; twice {
			return nil, events.Errorf(events.ErrInvalidBatch, "%s names %q twice; nothing was written", headerExpect, clip(text))
		}
		out[entity] = x
	}
	return out, nil
}

func badExpectation(s string) error {
	return events.Errorf(events.ErrInvalidBatch, "%q is not an expectation; nothing was written", clip(s)).
		Hint("Expect any, none, or the sequence of the entity's last event; of several entities airport/ORD=12,airport/JFK=none.")
}

// ParseExpectation reads what an entity's last sequence should be: any, none, or a number. It returns events.ErrInvalidBatch.
func ParseExpectation(s string) (events.Expectation, error) {
	switch s {
	case "any":
		return events.ExpectAny(), nil
	case "none":
		return events.ExpectNone(), nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || s != strconv.FormatUint(n, 10) {
		return events.Expectation{}, badExpectation(s)
	}
	return events.ExpectExactly(n), nil
}
