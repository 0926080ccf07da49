package embedded

import (
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/crypto/bcrypt"

	"tidemark.dev/events"
)

// Links between regions are leaf node connections. Each is isolated: what a region hears over one link is not passed on over another, which
// is what lets every pair of regions have a link of its own without a loop.

const (
	// linkReconnect is how long a broken link waits before it is dialled again.
	linkReconnect = 250 * time.Millisecond
	// pingEvery and pingsOut find a half-open link, or client, within 9 s.
	pingEvery = 3 * time.Second
	pingsOut  = 2
	// linkReports is after how many attempts in vain the log says again that a region cannot be dialled: about ten minutes.
	linkReports = 2_400
)

// validateLinks looks at what a configuration says about other regions.
func (cfg *NATSConfig) validateLinks() error {
	seen := map[string]bool{cfg.Region: true}
	check := func(what, region string) error {
		if err := events.ValidateOrigin(region); err != nil {
			return err
		}
		if seen[region] {
			return events.Errorf(ErrNATSFailed, "NATS of region %s: %s %s is the region itself or named twice; nothing was started", cfg.Region, what, region).
				Hint("Two regions share one link: the one that is started later dials the other.")
		}
		seen[region] = true
		return nil
	}
	for _, p := range cfg.Peers {
		if err := check("peer", p); err != nil {
			return err
		}
	}
	for _, l := range cfg.Links {
		if err := check("the link to", l.Region); err != nil {
			return err
		}
		if _, _, err := net.SplitHostPort(l.Address); err != nil || l.User == "" || l.Password == "" {
			return events.Errorf(ErrBadAddress, "NATS of region %s: the link to region %s has no address, user or password; nothing was started", cfg.Region, l.Region).
				Hint("Take it from LinkFor(%q) of the region that is dialled, and name %s among its peers.", cfg.Region, cfg.Region)
		}
	}
	for _, o := range cfg.Origins {
		if err := events.ValidateOrigin(o); err != nil {
			return err
		}
	}
	return nil
}

// origins returns the histories that links carry: those given, otherwise one of every region's name.
func (cfg *NATSConfig) origins() []string {
	if len(cfg.Origins) > 0 {
		return cfg.Origins
	}
	all := append([]string{cfg.Region}, cfg.Peers...)
	for _, l := range cfg.Links {
		all = append(all, l.Region)
	}
	slices.Sort(all)
	return all
}

// linkUsers returns the users of the peers. Each may open links only, not connect as a client, and may do only what LinkPermissions says.
func linkUsers(cfg *NATSConfig, account *server.Account, passwords map[string]string) ([]*server.User, error) {
	var users []*server.User
	for _, peer := range cfg.Peers {
		name := linkUser(peer)
		hash, err := bcrypt.GenerateFromPassword([]byte(passwords[name]), bcrypt.MinCost)
		if err != nil {
			return nil, err
		}
		publish, subscribe := LinkPermissions(cfg.Region, peer, cfg.origins()...)
		users = append(users, &server.User{
			Username: name, Password: string(hash), Account: account,
			AllowedConnectionTypes: connectionTypes("LEAFNODE"),
			Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: publish},
				Subscribe: &server.SubjectPermission{Allow: subscribe},
			},
		})
	}
	return users, nil
}

func connectionTypes(types ...string) map[string]struct{} {
	m := make(map[string]struct{}, len(types))
	for _, t := range types {
		m[t] = struct{}{}
	}
	return m
}

// linkOptions adds the listener for the peers, if there are any, and the links to dial.
func linkOptions(o *server.Options, cfg *NATSConfig) error {
	o.PingInterval, o.MaxPingsOut = pingEvery, pingsOut
	o.ConnectErrorReports, o.ReconnectErrorReports = linkReports, linkReports
	o.LeafNode.ReconnectInterval = linkReconnect
	o.LeafNode.IsolateLeafnodeInterest = true
	o.LeafNode.NoAdvertise = true // a link goes to the address that was given, and never around a proxy on the way
	if len(cfg.Peers) > 0 {
		host, port, err := listenAddress(cfg.LinkListen)
		if err != nil {
			return err
		}
		o.LeafNode.Host, o.LeafNode.Port, o.LeafNode.AuthTimeout = host, port, authTimeout.Seconds()
	}
	for _, l := range cfg.Links {
		u := &url.URL{Scheme: "nats-leaf", Host: l.Address, User: url.UserPassword(l.User, l.Password)}
		o.LeafNode.Remotes = append(o.LeafNode.Remotes, &server.RemoteLeafOpts{
			URLs: []*url.URL{u}, LocalAccount: appAccount, LocalIsolation: true, IgnoreDiscoveredServers: true,
			// The region that is dialled has the list of what may cross. This is a second lock, on our side, on the first door.
			DenyImports: linkDenied(), DenyExports: linkDenied(),
		})
	}
	return nil
}

// linkDenied returns the subjects of records, which never cross a link.
func linkDenied() []string { return []string{"evt.>", "ctl.>"} }

// secretsOf returns every password that the server may come to quote.
func (cfg *NATSConfig) secretsOf(passwords map[string]string) map[string]string {
	all := make(map[string]string, len(passwords)+len(cfg.Links))
	for user, p := range passwords {
		all[user] = p
	}
	for _, l := range cfg.Links {
		all["link to "+l.Region] = l.Password
	}
	return all
}

// LinkFor returns what a region needs to dial this one. It is the zero Link for a region that is not among the peers.
func (n *NATS) LinkFor(region string) Link {
	password, ok := n.links[region]
	if !ok {
		return Link{}
	}
	return Link{Region: n.region, Address: n.linkAddress, User: linkUser(region), Password: password}
}
