// Package up runs a whole region in one process: its servers, or connections to running ones, a projector for each projection, queries, and
// the HTTP API.
//
//	Config -> region -> projectors
//	                 -> query.Reader -> httpapi.API -> listener
//	all of it -> App
//
// The parts are put together by wire: wire.go says of what, wire_gen.go is what it wrote. Nothing here knows whether the servers are embedded.
package up
