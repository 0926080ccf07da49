package topology

import (
	"net"
	"net/url"
	"strconv"
	"strings"

	"tidemark.dev/events"
)

// Ports of servers whose address does not name one.
const (
	natsPort  = "4222"
	redisPort = "6379"
)

// address is a checked address of a server.
type address struct {
	scheme   string
	host     string // host:port, or the path of a socket
	database string // of Redis; empty: it names none
}

// complaint says why a text is no address. The text is never in it: it may hold a password.
type complaint struct {
	code    events.Code
	message string
}

func badAddress(message string) *complaint { return &complaint{ErrBadValue, message} }

// split takes a URL apart and refuses what no address of ours has.
func split(text, example string, schemes ...string) (*url.URL, *complaint) {
	if _, rest, _ := strings.Cut(text, "://"); strings.Contains(rest, "@") || rest == "" && strings.Contains(text, "@") {
		return nil, &complaint{ErrLiteralSecret, "must not hold user or password: write them as user, and as password: {env: NAME} or {file: PATH}"}
	}
	if strings.Contains(text, "${") {
		return nil, badAddress("contains ${, and variables are not filled in here; set the whole key by its variable (tidemark config check --explain)")
	}
	u, err := url.Parse(text)
	known := false
	if err == nil {
		for _, s := range schemes {
			known = known || u.Scheme == s
		}
	}
	switch {
	case !known:
		return nil, badAddress("is not an address that begins with " + strings.Join(schemes, ":// or ") + "://, such as " + example)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "":
		return nil, badAddress("must have nothing behind a ? or #; write it such as " + example)
	}
	return u, nil
}

func natsAddress(text string) (address, *complaint) {
	const example = "nats://host:" + natsPort
	u, c := split(text, example, "nats", "tls")
	if c != nil {
		return address{}, c
	}
	if u.Path != "" && u.Path != "/" {
		return address{}, badAddress("must have no path; write it such as " + example)
	}
	host, c := hostPort(u, natsPort, example)
	return address{scheme: u.Scheme, host: host}, c
}

func redisAddress(text string) (address, *complaint) {
	const example = "redis://host:" + redisPort
	u, c := split(text, example, "redis", "rediss", "unix")
	if c != nil {
		return address{}, c
	}
	if u.Scheme == "unix" {
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") || u.Path == "/" {
			return address{}, badAddress("must name the socket by its full path, such as unix:///run/redis.sock")
		}
		return address{scheme: u.Scheme, host: u.Path}, nil
	}
	host, c := hostPort(u, redisPort, example)
	if c != nil {
		return address{}, c
	}
	a := address{scheme: u.Scheme, host: host, database: strings.TrimPrefix(u.Path, "/")}
	if a.database == "" {
		return a, nil
	}
	const highest = 9999
	if n, err := strconv.ParseUint(a.database, 10, 16); err != nil || n > highest || a.database != strconv.FormatUint(n, 10) {
		return address{}, badAddress("may have only the number of a database behind the port, such as " + example + "/0")
	}
	return a, nil
}

// httpAddress returns the base URL without a slash at its end.
func httpAddress(text string) (string, *complaint) {
	const example = "http://host:7070"
	u, c := split(text, example, "http", "https")
	if c != nil {
		return "", c
	}
	if _, c := hostPort(u, "80", example); c != nil {
		return "", c
	}
	return strings.TrimRight(text, "/"), nil
}

// hostPort returns host:port in small letters.
func hostPort(u *url.URL, port, example string) (string, *complaint) {
	host := strings.ToLower(u.Hostname())
	if host == "" || strings.ContainsAny(host, " ,;\"'<>\\^`{|}") {
		return "", badAddress("names no host; write it such as " + example)
	}
	if u.Port() != "" || strings.HasSuffix(u.Host, ":") {
		port = u.Port()
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", badAddress("has a port that is none; write it such as " + example)
	}
	return net.JoinHostPort(host, port), nil
}
