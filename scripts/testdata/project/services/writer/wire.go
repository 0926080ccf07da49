//go:build wireinject

package main

import (
	"github.com/google/wire"

	"tidemark.dev/infra/natslog"
)

func initLog() *natslog.Log {
	wire.Build(natslog.Hold, natslog.New)
	return nil
}
