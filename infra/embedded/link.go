package embedded

import (
	"log/slog"

	"tidemark.dev/infra/natslog"
	"tidemark.dev/infra/queryservice"
)

// Link is what a region needs to dial another one.
type Link struct {
	// Region that is dialled.
	Region string
	// Address of its link listener, host:port.
	Address string
	// User and Password that it made for the region that dials.
	User     string
	Password string `json:"-"`
}

// String describes the link without its password.
func (l Link) String() string {
	return "link to region " + l.Region + " at " + l.Address + " as " + l.User
}

// GoString is String: %#v does not show the password either.
func (l Link) GoString() string { return l.String() }

// LogValue is String: no log shows the password.
func (l Link) LogValue() slog.Value { return slog.StringValue(l.String()) }

// linkUser returns the name of the user that a region dials with.
func linkUser(region string) string { return "link-" + region }

// LinkPermissions returns what the user link-<remote> may do in the region local: publish is what may come from remote, subscribe what may
// go to it. Nothing else crosses the link; evt.> and ctl.> never do. The same lists go into the configuration of a nats-server that
// this program does not start. Origins are the histories of which either region may hold a mirror.
//
// Who makes a request over a link hears the answer only under _INBOX.>, so a user's own inbox prefix has to begin with _INBOX. too.
func LinkPermissions(local, remote string, origins ...string) (publish, subscribe []string) {
	return crossing(remote, local, origins), crossing(local, remote, origins)
}

// crossing returns the subjects of messages that may go from one region to another.
func crossing(from, to string, origins []string) []string {
	api, consumer := "$JS."+to+".API.", natslog.MirrorConsumer(from)
	var out []string
	for _, origin := range origins {
		stream := natslog.StreamName(origin)
		out = append(out,
			api+"STREAM.INFO."+stream,
			api+"STREAM.MSG.GET."+stream,
			api+"DIRECT.GET."+stream, api+"DIRECT.GET."+stream+".>",
			api+"CONSUMER.CREATE."+stream+"."+consumer,
			api+"CONSUMER.INFO."+stream+"."+consumer,
			api+"CONSUMER.RESET."+stream+"."+consumer,
			api+"CONSUMER.DELETE."+stream+"."+consumer,
			// The mirror's answers to the leader's flow control: the old form, and the one with domain and account.
			"$JS.FC."+stream+"."+consumer+".*", "$JS.FC."+to+".*."+stream+"."+consumer+".*",
			// The leader's records for the mirror.
			natslog.MirrorSubject(to, origin),
		)
	}
	return append(append(out, "_INBOX.>", "tm.append.>", "tm.floors.>"), queryservice.Crossing(to)...)
}
