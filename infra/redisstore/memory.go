package redisstore

import (
	"bufio"
	"context"
	"strconv"
	"strings"

	"tidemark.dev/projections"
)

// Memory says what INFO says of the server that is closest to its maxmemory.
func (s *Store) Memory(ctx context.Context) (projections.Memory, error) {
	const op = "ask for the memory in use"
	nodes, err := s.masters(ctx)
	if err != nil {
		return projections.Memory{}, failure(ctx, op, err)
	}
	var closest projections.Memory
	for _, node := range nodes {
		text, err := node.Info(ctx, "memory").Result()
		if err != nil {
			return projections.Memory{}, failure(ctx, op, err)
		}
		if m := parseMemory(text); m.Share() > closest.Share() || closest.Max == 0 && m.Used > closest.Used {
			closest = m
		}
	}
	return closest, nil
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
