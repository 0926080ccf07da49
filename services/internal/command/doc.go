// Package command is the command line of Tidemark.
//
// Every command is a file named after it, which reads from top to bottom. Results go to stdout, everything else to stderr, so that the output
// can be piped. With -o json both are JSON. Exit codes: 0 done, 1 a condition is not met, 2 bad input, 3 unreachable or unknown.
package command
