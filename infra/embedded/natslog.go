package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// natsLog takes what the NATS server says: warnings and errors go on to slog, the rest is dropped. It remembers the first
// fatal message, because the server reports a failed start in no other way.
type natsLog struct {
	log    *slog.Logger
	redact *strings.Replacer

	mu       sync.Mutex
	fatal    string // the first fatal message
	fatalErr error  // the error in it, if it had one
}

// newNATSLog makes a log that blots out the secrets. The server does not know them in the clear, but it quotes what a
// client sent when it cannot make sense of it.
func newNATSLog(log *slog.Logger, secrets map[string]string) *natsLog {
	pairs := make([]string, 0, 2*len(secrets))
	for _, s := range secrets {
		pairs = append(pairs, s, "[redacted]")
	}
	return &natsLog{log: log, redact: strings.NewReplacer(pairs...)}
}

func (l *natsLog) Noticef(string, ...any) {}
func (l *natsLog) Debugf(string, ...any)  {}
func (l *natsLog) Tracef(string, ...any)  {}

func (l *natsLog) Warnf(format string, v ...any)  { l.say(slog.LevelWarn, format, v) }
func (l *natsLog) Errorf(format string, v ...any) { l.say(slog.LevelError, format, v) }

// Fatalf is called where the stand-alone server would exit. This process goes on: StartNATS looks at what was said.
func (l *natsLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	if l.fatal == "" {
		l.fatal = l.redact.Replace(fmt.Sprintf(format, v...))
		for _, a := range v {
			if err, ok := a.(error); ok {
				l.fatalErr = err
			}
		}
	}
	l.mu.Unlock()
}

func (l *natsLog) say(level slog.Level, format string, v []any) {
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	l.log.Log(context.Background(), level, "nats-server says", "text", l.redact.Replace(fmt.Sprintf(format, v...)))
}

// failed returns the first fatal message and its cause.
func (l *natsLog) failed() (message string, cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal, l.fatalErr
}
