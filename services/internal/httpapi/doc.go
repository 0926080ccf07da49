// Package httpapi is Tidemark's HTTP surface: events in as CloudEvents, documents out, each with its position.
//
// It is a handler of net/http and nothing more. Errors are problem documents (RFC 9457) whose codes are those of the command line. What it
// answers is written down in openapi.yaml, which it serves, and a test compares the two.
//
// It has no users and no passwords: by default it listens on this machine only, and refuses what a browser sends for another site.
package httpapi
