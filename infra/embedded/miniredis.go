package embedded

import (
	"sync"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// startMiniredis starts a miniredis that only this machine can reach, with a password that only this process knows.
func startMiniredis() (options func() *redis.Options, stop func(), err error) {
	m := miniredis.NewMiniRedis()
	password := newPassword()
	m.RequireAuth(password)
	if err := m.StartAddr(DefaultListen); err != nil {
		return nil, nil, redisFailed("miniredis could not listen on %s: %w", DefaultListen, err)
	}
	addr := m.Addr()
	return func() *redis.Options {
		o := ownOptions("tcp", addr)
		o.Password = password
		return o
	}, m.Close, nil
}

// closing returns a function that calls stop and closes done, once.
func closing(done chan struct{}, stop func()) func() error {
	var once sync.Once
	return func() error {
		once.Do(func() {
			stop()
			close(done)
		})
		return nil
	}
}
