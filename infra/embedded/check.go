package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
)

// finding is one reason why a Redis cannot hold a read model, and what to do about it.
type finding struct{ found, mend string }

// Check returns nil if a Redis, or every master of a Redis Cluster, can hold a read model. Nothing is written to it. It returns:
//
//   - ErrUnsafeRedis: it evicts, is a replica, is older than 6.2, or is a cluster where one server was meant, or the other way round. All
//     reasons are named, each with its remedy;
//   - events.ErrUnauthorized: it refused user or password, or the user lacks a right that Check needs;
//   - events.ErrUnreachable: it did not answer, or answered that it cannot serve yet, such as a cluster with a slot that no master serves.
//
// What a server does not tell (miniredis tells nothing about itself) is not held against it.
func Check(ctx context.Context, client redis.UniversalClient) error {
	switch c := client.(type) {
	case *redis.Client:
		return checkServer(ctx, c)
	case *redis.ClusterClient:
		return checkCluster(ctx, c)
	}
	return events.Errorf(ErrUnsafeRedis, "a client of type %T cannot be used: a read model needs one server, or a Redis Cluster", client)
}

func checkServer(ctx context.Context, client *redis.Client) error {
	addr := client.Options().Addr
	info, err := describeNode(ctx, client)
	if err != nil {
		return err
	}
	findings := judge(info)
	if info["cluster_enabled"] == "1" {
		findings = append(findings, finding{"it is a node of a Redis Cluster and was given as a single server", "Say that it is a cluster."})
	}
	return unsafeRedis(addr, findings)
}

// describeNode returns what one server tells about itself. Its errors are those of Check.
func describeNode(ctx context.Context, client *redis.Client) (map[string]string, error) {
	addr := client.Options().Addr
	if err := denied(addr, "PING", client.Ping(ctx).Err()); err != nil {
		return nil, err
	}
	return readInfo(ctx, client, addr)
}

// unsafeRedis makes one error of all findings, or nil of none.
func unsafeRedis(addr string, findings []finding) error {
	if len(findings) == 0 {
		return nil
	}
	var found, mend []string
	for _, f := range findings {
		found = append(found, f.found)
		if !slices.Contains(mend, f.mend) {
			mend = append(mend, f.mend)
		}
	}
	return events.Errorf(ErrUnsafeRedis, "Redis at %s cannot hold a read model: %s; nothing was written", addr, strings.Join(found, "; ")).
		Hint("%s", strings.Join(mend, " "))
}

// judge returns what is wrong with a server that describes itself so.
func judge(info map[string]string) []finding {
	var fs []finding
	if v := info["redis_version"]; olderThan(v, minRedis) {
		fs = append(fs, finding{"its version is " + v + ", older than " + minRedis, "Upgrade it."})
	}
	if info["role"] == "slave" {
		fs = append(fs, finding{
			fmt.Sprintf("it is a replica of %s:%s, and what is written to a replica is lost", info["master_host"], info["master_port"]),
			"Use the address of its master.",
		})
	}
	if p := info["maxmemory_policy"]; p != "" && p != "noeviction" {
		fs = append(fs, finding{
			"its maxmemory-policy is " + p + ", so it drops documents, checkpoints too, when its memory is full",
			"Run CONFIG SET maxmemory-policy noeviction, and set it in redis.conf (or in the parameters of your service).",
		})
	}
	return fs
}

// readInfo returns what the server tells about itself, as far as it tells it.
func readInfo(ctx context.Context, client *redis.Client, addr string) (map[string]string, error) {
	info := make(map[string]string)
	for _, section := range []string{"server", "replication", "memory", "cluster"} {
		text, err := client.Info(ctx, section).Result()
		if err := denied(addr, "INFO", err); err != nil {
			return nil, err
		}
		readSection(info, text)
	}
	if info["maxmemory_policy"] != "" {
		return info, nil
	}
	// Something that speaks the protocol and has no such line may still answer CONFIG. To be refused here proves nothing.
	config, err := client.ConfigGet(ctx, "maxmemory-policy").Result()
	if err != nil && !isReply(err) {
		return nil, connectError(addr, err)
	}
	info["maxmemory_policy"] = config["maxmemory-policy"]
	return info, nil
}

// denied turns an error of a command into one that Check returns, or nil where the server just does not know it.
func denied(addr, command string, err error) error {
	switch {
	case err == nil:
		return nil
	case redis.IsPermissionError(err):
		return events.Errorf(events.ErrUnauthorized,
			"Redis at %s: its user may not run %s, so it cannot be told whether it is safe to keep a read model in it", addr, command).
			Hint("Give the right: ACL SETUSER <user> +%s", strings.ToLower(command))
	case isReply(err) && !refused(err) && !notYet(err):
		return nil
	}
	return connectError(addr, err)
}

// connectError tells a server that refuses us from one that cannot be reached.
func connectError(addr string, err error) error {
	switch {
	case refused(err):
		return events.Errorf(events.ErrUnauthorized, "Redis at %s refused user or password: %w", addr, err).
			Hint("Check both; they are part of the address: redis://user:password@host:port")
	case notYet(err):
		return events.Errorf(events.ErrUnreachable, "Redis at %s cannot serve yet: %w", addr, err).Hint("Try again in a moment.")
	}
	return events.Errorf(events.ErrUnreachable, "Redis at %s cannot be reached: %w", addr, err).
		Hint("Check that it runs, that address and port are right, and that TLS is on at both ends (rediss://) or at none.")
}

// refused reports whether the server said no to the credentials.
func refused(err error) bool {
	if redis.IsAuthError(err) {
		return true
	}
	for ; err != nil; err = errors.Unwrap(err) {
		// A password was sent, and the server has none: it is another server than was meant, or another setting.
		if strings.HasPrefix(err.Error(), "ERR AUTH") || strings.HasPrefix(err.Error(), "ERR invalid password") {
			return true
		}
	}
	return false
}

// notYet reports whether the server answers, and cannot serve for the moment.
func notYet(err error) bool {
	return redis.IsLoadingError(err) || redis.IsMasterDownError(err) || redis.IsMaxClientsError(err)
}

// isReply reports whether the error is an answer of the server, not a failure to get one.
func isReply(err error) bool {
	_, ok := errors.AsType[redis.Error](err)
	return ok
}

// readSection adds the key:value lines of INFO.
func readSection(info map[string]string, text string) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if key, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), ":"); ok && !strings.HasPrefix(key, "#") {
			info[key] = value
		}
	}
}
