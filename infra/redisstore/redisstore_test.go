package redisstore_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/infra/redisstore"
	"tidemark.dev/infra/redistest"
	"tidemark.dev/projections/storetest"
)

func open(t testing.TB, client redis.UniversalClient) *redisstore.Store {
	t.Helper()
	s, err := redisstore.New(client, redisstore.Options{})
	must(t, err)
	return s
}

func subject(t testing.TB, client redis.UniversalClient) storetest.Subject {
	t.Helper()
	return storetest.Subject{Store: open(t, client), Tamper: tamper{client}}
}

func TestStoreOnRedis(t *testing.T) {
	server := redistest.Start(t)
	storetest.RunStore(t, func(t *testing.T) storetest.Subject {
		server.FlushAll()
		return subject(t, server.Client())
	})
}

func TestStoreOnRedisWithTheOlderProtocol(t *testing.T) {
	server := redistest.Start(t)
	o := server.Options()
	o.Protocol = 2
	client := redis.NewClient(o)
	t.Cleanup(func() { must(t, client.Close()) })
	storetest.RunStore(t, func(t *testing.T) storetest.Subject {
		server.FlushAll()
		return subject(t, client)
	})
}

func TestStoreOnMiniredis(t *testing.T) {
	storetest.RunStore(t, func(t *testing.T) storetest.Subject { return subject(t, patientMini(t)) })
}

// patientMini is a client of a miniredis that waits as long as it takes: a hundred scripts there take seconds under the race detector.
func patientMini(t testing.TB) *redis.Client {
	t.Helper()
	o := *redistest.Mini(t).Options()
	o.ReadTimeout = within
	client := redis.NewClient(&o)
	t.Cleanup(func() { must(t, client.Close()) })
	return client
}

// each runs a test against a real server and against miniredis.
func each(t *testing.T, test func(t *testing.T, client *redis.Client)) {
	t.Helper()
	t.Run("redis", func(t *testing.T) { test(t, redistest.Start(t).Client()) })
	t.Run("miniredis", func(t *testing.T) { test(t, patientMini(t)) })
}
