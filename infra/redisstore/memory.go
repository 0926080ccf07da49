package redisstore

import (
	"bufio"
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/projections"
)

// Memory says what INFO says of the server that is closest to its maxmemory. A server that does not know of its memory, as miniredis does not, is passed over.
func (s *Store) Memory(ctx context.Context) (projections.Memory, error) {
	const op = "ask for the memory in use"
	nodes, err := s.masters(ctx)
	if err != nil {
		return projections.Memory{}, failure(ctx, op, err)
	}
	var all []projections.Memory
	for _, node := range nodes {
		text, err := node.Info(ctx, "memory").Result()
		switch {
		case err == nil:
			all = append(all, parseMemory(text))
		case !unsupported(err):
			return projections.Memory{}, failure(ctx, op, err)
		}
	}
	return closest(all), nil
}

// unsupported reports whether a server says that it has no such section. A redis-server answers nothing instead.
func unsupported(err error) bool {
	answer, ok := errors.AsType[redis.Error](err)
	return ok && strings.Contains(answer.Error(), "is not supported")
}

// closest returns the one of the largest share; the one that uses most, where none has a bound.
func closest(all []projections.Memory) (found projections.Memory) {
	for _, m := range all {
		if m.Share() > found.Share() || found.Share() == 0 && m.Share() == 0 && m.Used > found.Used {
			found = m
		}
	}
	return found
}

// parseMemory reads what is of interest of the answer to INFO memory.
func parseMemory(text string) (m projections.Memory) {
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		switch name {
		case "used_memory":
			m.Used, _ = strconv.ParseUint(value, 10, 64)
		case "maxmemory":
			m.Max, _ = strconv.ParseUint(value, 10, 64)
		}
	}
	return m
}
