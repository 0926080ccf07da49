package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// commandTimeout bounds one command of docker, but for an import.
	commandTimeout = 3 * time.Minute
	// healthTimeout bounds the way of containers to health: a service that waits asks again every 5 s, and so does a health check.
	healthTimeout = 2 * time.Minute
	// poll is how often something is looked at that is waited for.
	poll = 250 * time.Millisecond
	// quoted is how much of a command's output an error repeats, in bytes.
	quoted = 3000
)

// errCannot says that the check itself could not be done.
var errCannot = errors.New("the docker engine or its compose plugin does not do what is asked of it")

// engine runs docker commands for one compose project.
type engine struct {
	root, project string
	ports         map[string]int // service -> port on 127.0.0.1
	env           []string
}

// newEngine chooses a free port for everything that is published, so that an installation that runs beside is not in the way.
func newEngine(root, project string) (*engine, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	e := &engine{root: root, project: project, ports: make(map[string]int), env: os.Environ()}
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	for _, region := range regions() {
		for _, part := range []string{"nats", "writer", "query"} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			held = append(held, l)
			port := l.Addr().(*net.TCPAddr).Port
			e.ports[region+"-"+part] = port
			e.env = append(e.env, fmt.Sprintf("TIDEMARK_PORT_%s_%s=%d", strings.ToUpper(region), strings.ToUpper(part), port))
		}
	}
	return e, nil
}

// url returns where a service of a region answers.
func (e *engine) url(service string) string {
	return "http://127.0.0.1:" + strconv.Itoa(e.ports[service])
}

// container returns the name of a service's container.
func (e *engine) container(service string) string { return e.project + "-" + service + "-1" }

// docker runs a docker command and returns what it printed.
func (e *engine) docker(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commandTimeout, fmt.Errorf("not done within %s", commandTimeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = e.root, e.env, &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("docker %s: %w", strings.Join(args[:min(len(args), 4)], " "), context.Cause(ctx))
		}
		said := strings.TrimSpace(errs.String() + out.String())
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, said[max(0, len(said)-quoted):])
	}
	return out.String(), nil
}

// compose runs a command of the compose plugin.
func (e *engine) compose(ctx context.Context, args ...string) (string, error) {
	return e.docker(ctx, append([]string{"compose", "--project-name", e.project}, args...)...)
}

// health returns the state of every container of the project: its health, or its state if it has no health check.
func (e *engine) health(ctx context.Context) (map[string]string, error) {
	return e.inspect(ctx, `{{if .State.Health}}{{if .State.Running}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}{{else}}{{.State.Status}}{{end}}`)
}

// inspect returns what a format says of the container of each service.
func (e *engine) inspect(ctx context.Context, format string) (map[string]string, error) {
	ids, err := e.compose(ctx, "ps", "--all", "--quiet")
	if err != nil {
		return nil, err
	}
	format = `{{index .Config.Labels "com.docker.compose.service"}} ` + format
	out, err := e.docker(ctx, append([]string{"inspect", "--format", format}, strings.Fields(ids)...)...)
	if err != nil {
		return nil, err
	}
	said := make(map[string]string)
	for line := range strings.Lines(out) {
		if service, text, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			said[service] = text
		}
	}
	return said, nil
}

// waitHealthy waits until the services are healthy, and says of those that are not what they logged last. A service that waits for another does not
// end meanwhile, so none may have been started again by the engine.
func (e *engine) waitHealthy(ctx context.Context, services []string) error {
	var ill []string
	err := until(ctx, healthTimeout, func() (bool, error) {
		states, err := e.health(ctx)
		if err != nil {
			return false, err
		}
		ill = slices.DeleteFunc(slices.Clone(services), func(s string) bool { return states[s] == "healthy" })
		return len(ill) == 0, nil
	})
	switch {
	case errors.Is(err, errLate):
		return fmt.Errorf("not healthy within %s: %s%s", healthTimeout, strings.Join(ill, ", "), e.lastWords(ctx, ill))
	case err != nil:
		return err
	}
	counts, err := e.inspect(ctx, `{{.RestartCount}}`)
	if err != nil {
		return err
	}
	if ended := slices.DeleteFunc(slices.Sorted(maps.Keys(counts)), func(s string) bool { return counts[s] == "0" }); len(ended) > 0 {
		return fmt.Errorf("ended by itself, and was started again by the engine: %s%s", strings.Join(ended, ", "), e.lastWords(ctx, ended))
	}
	return nil
}

// lastWords returns the end of what services logged.
func (e *engine) lastWords(ctx context.Context, services []string) string {
	said := ""
	for _, service := range services {
		log, err := e.compose(ctx, "logs", "--no-color", "--tail", "5", service)
		if err != nil {
			log = err.Error()
		}
		said += "\n" + log
	}
	return said
}

// errLate says that what was waited for did not happen in time.
var errLate = errors.New("not in time")

// until asks until the answer is yes, an error, or the time is over.
func until(ctx context.Context, patience time.Duration, ask func() (bool, error)) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	again := time.NewTicker(poll)
	defer again.Stop()
	for {
		if ok, err := ask(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late.C:
			return errLate
		case <-again.C:
		}
	}
}
