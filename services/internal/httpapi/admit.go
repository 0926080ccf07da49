package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"tidemark.dev/events"
	"tidemark.dev/services/internal/failure"
)

// admit refuses a request that is not meant for us, before anything else looks at it.
func (a *API) admit(r *http.Request) error {
	if a.options.Address != nil && loopback(a.options.Address.String()) && !loopback(r.Host) {
		// A name of somebody else's that leads to this machine: DNS rebinding. Its pages could read every answer.
		return events.Errorf(failure.ErrUnknownHost, "the request is for the host %q, and this service answers on this machine only", clip(r.Host)).
			Hint("Use localhost, or an address of 127.0.0.0/8 or ::1.")
	}
	if err := sameSite(r); err != nil {
		return err
	}
	return canonical(r.URL.EscapedPath())
}

// sameSite refuses what a browser sends for a page of another site. A client that is no browser sends none of these headers.
func sameSite(r *http.Request) error {
	refused := events.Errorf(failure.ErrCrossSite, "a page of another site sent the request; nothing was read or written").
		Hint("Send it from a service, or from a page of this service itself.")
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "", "none", "same-origin":
	default:
		return refused
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || u.Host != r.Host {
			return refused
		}
	}
	return nil
}

// canonical refuses a path that the router would clean up, which would be another key than was asked for.
func canonical(path string) error {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if segment == "." || segment == ".." || segment == "" && i > 0 && i < len(segments)-1 {
			return events.Errorf(failure.ErrInvalidRequest, "the path has an empty segment, or one of dots only").
				Hint("Percent-encode the key: / is %%2F and . is %%2E.")
		}
	}
	return nil
}

// loopback reports whether a host, with or without a port, is this machine's own.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
