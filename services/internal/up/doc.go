// Package up runs whole regions in one process: their servers, or connections to running ones, a projector for each projection, queries, and
// the HTTP API. The parts are those that the separate services are made of.
//
//	Config -> region -> projectors
//	                 -> query.Reader -> httpapi.API -> listener
//	all of it -> App,  an App for each region -> Fleet
//
// The parts are put together by wire: wire.go says of what, wire_gen.go is what it wrote. Nothing here knows whether the servers are embedded.
package up
