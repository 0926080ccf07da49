package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

const (
	// wholeCheck bounds everything, without the building of the images.
	wholeCheck = 13 * time.Minute
	// convergence bounds the way of every region to the same documents.
	convergence = 3 * time.Minute
	// outage is how long a container stays stopped.
	outage = 3 * time.Second
	// honesty bounds the time until a region that is cut off says that its lag is not known.
	honesty = 30 * time.Second
	// data is the example that is imported; importedAs is where the importing container finds it.
	data       = "projections/flights/data"
	dataFile   = "flights-20k.ndjson.gz"
	dataMap    = "flights.map.yaml"
	importedAs = "/flights"
)

// check is one run.
type check struct {
	options options
	engine  *engine
	out     io.Writer
	table   table

	want    expected
	traffic *traffic
}

func newCheck(o options, out io.Writer) (*check, error) {
	e, err := newEngine(o.root, o.project)
	if err != nil {
		return nil, err
	}
	known := false
	for _, r := range regions() {
		known = known || r == o.cut
	}
	if !known {
		return nil, fmt.Errorf("there is no region %q to cut off; there are: %s", o.cut, strings.Join(regions(), ", "))
	}
	return &check{options: o, engine: e, out: out}, nil
}

// step runs one part of the check and notes how it went.
func (c *check) step(what string, do func() (count string, err error)) error {
	_, _ = fmt.Fprintf(c.out, "%s %s\n", time.Now().Format(time.TimeOnly), what)
	begin := time.Now()
	count, err := do()
	if err == nil && c.traffic != nil {
		err = c.traffic.broken()
	}
	c.table.rows = append(c.table.rows, row{what, count, time.Since(begin), err != nil})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (c *check) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, wholeCheck, fmt.Errorf("the check did not end within %s", wholeCheck))
	defer cancel()
	for _, part := range []func(context.Context) error{c.begin, c.containers, c.region, c.end} {
		if err := part(ctx); err != nil {
			if c.traffic != nil {
				c.traffic.cancel(err)
				c.traffic.done.Wait()
			}
			return err
		}
	}
	return nil
}

// begin brings everything up, imports the flights, and compares.
func (c *check) begin(ctx context.Context) error {
	if err := c.step("everything comes up from nothing", func() (string, error) {
		if _, err := c.engine.compose(ctx, "up", "--detach", "--no-build"); err != nil {
			return "", fmt.Errorf("%w: %w", errCannot, err)
		}
		all := c.services()
		return fmt.Sprintf("%d containers healthy", len(all)), c.engine.waitHealthy(ctx, all)
	}); err != nil {
		return err
	}
	if err := c.step("the flights are imported at the leader", func() (string, error) {
		var lines int
		var err error
		if c.want, lines, err = foldFile(filepath.Join(c.engine.root, data, dataFile)); err != nil {
			return "", err
		}
		_, err = c.engine.compose(ctx, "run", "--rm", "--no-deps", "-T", "--volume", filepath.Join(c.engine.root, data)+":"+importedAs+":ro", leader+"-tidemark",
			"import", importedAs+"/"+dataFile, "--map", importedAs+"/"+dataMap)
		return fmt.Sprintf("%d lines, %d events", lines, 2*lines), err
	}); err != nil {
		return err
	}
	if err := c.compare(ctx, c.want); err != nil {
		return err
	}
	c.traffic = startTraffic(ctx, c.engine, c.want)
	return nil
}

// services returns every container of every region.
func (c *check) services() []string {
	var all []string
	for _, region := range regions() {
		all = append(all, of(region)...)
	}
	return all
}

// of returns the containers of a region.
func of(region string) []string {
	var all []string
	for _, part := range parts() {
		all = append(all, region+"-"+part)
	}
	return all
}

// compare waits until every document of every region is what is expected, and says what differs if that does not happen in time.
func (c *check) compare(ctx context.Context, want expected) error {
	for _, region := range regions() {
		if err := c.step("documents of "+region+" are those of the oracle", func() (string, error) {
			documents, difference := 0, ""
			err := until(ctx, convergence, func() (bool, error) {
				documents, difference = compare(ctx, c.engine.url(region+"-query"), want)
				return difference == "", nil
			})
			if errors.Is(err, errLate) {
				err = fmt.Errorf("not within %s: %s", convergence, difference)
			}
			return fmt.Sprintf("%d documents compared", documents), err
		}); err != nil {
			return err
		}
	}
	return nil
}

// containers stops and starts each container in turn, under writes.
func (c *check) containers(ctx context.Context) error {
	for _, region := range regions() {
		for _, service := range of(region) {
			if err := c.step(service+" is stopped and started", func() (string, error) {
				before := c.traffic.counts()
				if _, err := c.engine.compose(ctx, c.how(), service); err != nil {
					return "", err
				}
				if err := rest(ctx, outage); err != nil {
					return "", err
				}
				if _, err := c.engine.compose(ctx, "start", service); err != nil {
					return "", err
				}
				return c.recovered(ctx, before)
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// how returns the command that stops containers: in order, or with SIGKILL.
func (c *check) how() string {
	if c.options.kill {
		return "kill"
	}
	return "stop"
}

// recovered waits until everything is healthy and every writer gets acknowledgements again.
func (c *check) recovered(ctx context.Context, before []int) (string, error) {
	if err := c.engine.waitHealthy(ctx, c.services()); err != nil {
		return "", err
	}
	if err := c.traffic.resumed(ctx, c.traffic.counts()); err != nil {
		return "", err
	}
	meanwhile := 0
	for i, n := range c.traffic.counts() {
		meanwhile += n - before[i]
	}
	return fmt.Sprintf("%d events acknowledged meanwhile", meanwhile), nil
}

// region cuts a whole region off, then stops and starts it, under writes.
func (c *check) region(ctx context.Context) error {
	network, server := c.options.project+"_wan", c.engine.container(c.options.cut+"-nats")
	before := c.traffic.counts()
	if err := c.step(c.options.cut+" is cut off and says that its lag is not known", func() (string, error) {
		if _, err := c.engine.docker(ctx, "network", "disconnect", network, server); err != nil {
			return "", err
		}
		begin := time.Now()
		err := c.saysUnknown(ctx)
		return fmt.Sprintf("after %.1f s", time.Since(begin).Seconds()), err
	}); err != nil {
		return err
	}
	return c.step(c.options.cut+" is stopped as a whole, started, and linked again", func() (string, error) {
		if _, err := c.engine.compose(ctx, append([]string{c.how()}, of(c.options.cut)...)...); err != nil {
			return "", err
		}
		if err := rest(ctx, outage); err != nil {
			return "", err
		}
		if _, err := c.engine.compose(ctx, append([]string{"start"}, of(c.options.cut)...)...); err != nil {
			return "", err
		}
		if _, err := c.engine.docker(ctx, "network", "connect", "--alias", c.options.cut+"-nats", network, server); err != nil {
			return "", err
		}
		return c.recovered(ctx, before)
	})
}

// saysUnknown waits until every region that does not hear the leader says so.
func (c *check) saysUnknown(ctx context.Context) error {
	for _, region := range regions() {
		if region == leader || region != c.options.cut && c.options.cut != leader {
			continue
		}
		if err := c.says(ctx, region, honesty, "unknown, lag unknown"); err != nil {
			return err
		}
	}
	return nil
}

// says waits until a region says of its copy what it should.
func (c *check) says(ctx context.Context, region string, patience time.Duration, want string) error {
	said := ""
	err := until(ctx, patience, func() (bool, error) {
		said = copyState(ctx, c.engine.url(region+"-query"))
		return said == want, nil
	})
	if errors.Is(err, errLate) {
		err = fmt.Errorf("after %s %s says of its copy: %s; it should say: %s", patience, region, said, want)
	}
	return err
}

// end stops the writes and compares everything once more.
func (c *check) end(ctx context.Context) error {
	if err := c.step("every event that was written is acknowledged", func() (string, error) {
		err := c.traffic.finish()
		landed, attempts, unknown, again := 0, 0, 0, 0
		for _, w := range c.traffic.writers {
			landed, attempts, unknown, again = landed+len(w.landed), attempts+w.attempts, unknown+w.unknown, again+w.duplicates
		}
		return fmt.Sprintf("%d events in %d attempts; %d attempts of unknown outcome, %d found stored", landed, attempts, unknown, again), err
	}); err != nil {
		return err
	}
	for _, r := range c.traffic.readers {
		answered, refused := r.counts()
		c.table.rows = append(c.table.rows, row{what: "answers of " + r.region + " meanwhile", count: fmt.Sprintf("%d true, %d refused, 0 false", answered, refused)})
	}
	last := landing("CHECK-ALL", 1)
	if err := c.step("an event is confirmed by every region", func() (string, error) { return c.confirm(ctx, last) }); err != nil {
		return err
	}
	// A lost event would be missing in a sum, a doubled one would be in it twice.
	if err := c.compare(ctx, c.want.with(append(c.traffic.landed(), last))); err != nil {
		return err
	}
	return c.step("every mirror follows, and is nothing behind", func() (string, error) {
		for _, region := range regions() {
			want := "follows, 0 behind"
			if region == leader {
				want = "leads"
			}
			if err := c.says(ctx, region, honesty, want); err != nil {
				return "", err
			}
		}
		return fmt.Sprintf("%d regions", len(regions())), nil
	})
}

// confirm publishes one event at a mirror, to be acknowledged only when every region holds it.
func (c *check) confirm(ctx context.Context, f flight) (string, error) {
	body, err := json.Marshal(f)
	if err != nil {
		return "", err
	}
	target := fmt.Sprintf("%s/v1/events?confirm=%d&wait=10s", c.engine.url("eu-writer"), len(regions()))
	text, _, err := ask(ctx, http.MethodPost, target, eventHeader(f.Destination, 1), body)
	if err != nil {
		return "", err
	}
	var receipt struct {
		Confirmed []string `json:"confirmed"`
	}
	if err := json.Unmarshal(text, &receipt); err != nil {
		return "", err
	}
	if len(receipt.Confirmed) != len(regions()) {
		return "", fmt.Errorf("it was confirmed by: %s", strings.Join(receipt.Confirmed, ", "))
	}
	return "by " + strings.Join(receipt.Confirmed, ", "), nil
}

// rest waits.
func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
