// Package redisstore keeps read models in Redis: a projections.Store on one server, on a Redis Cluster, or on miniredis.
//
// Documents are plain hashes that any Redis client can read. What makes them trustworthy is the header beside them: documents and header of
// a partition change together, in one script, after everything has been checked. README.md in this folder shows the keys, what is
// guaranteed and what is not.
//
// Reading order: names.go (the keys), header.go and document.go (the values), scripts.go, apply.go.
package redisstore
