// Package failure says what a code means to whoever meets it: to a script, as an exit code of the command line; to an HTTP client, as a
// status and a problem document (RFC 9457); to a person, as a title. It is the one place where that is decided, so that the two
// surfaces cannot disagree.
//
// Exit codes: 0 done, 1 a condition is not met, 2 bad input, 3 unreachable or unknown.
package failure
