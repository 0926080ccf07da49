// Package queryservice answers queries over NATS, as a micro service that any NATS client can find and ask, and asks such services. The service of a region
// answers what its HTTP API answers, from the same reader. README.md has the subjects, the messages and the rights.
package queryservice
