package region

import (
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/projections/query"
)

// Queries returns the service that answers over NATS, with a reader, what is asked of this region. Run it; end it before the region is closed.
func (r *Region) Queries(reader *query.Reader, o queryservice.Options) (*queryservice.Server, error) {
	if o.Logger == nil {
		o.Logger = r.config.Logger
	}
	return queryservice.New(r.nats, r.config.Name, reader, o)
}
