package natsobjects

import (
	"context"
	"errors"
	"strings"
	"time"

	"tidemark.dev/infra/internal/natsapi"
)

// remove removes the parts of an object that is not to be, whether ctx has ended or not. What cannot be removed now is swept away one day.
func (s *Snapshots) remove(ctx context.Context, nuid string) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer stop()
	_ = s.purge(ctx, s.subject("C."+nuid), 0)
}

// sweep removes the parts that no description names and that nobody has added to for an hour: of a writer that died, of a deletion that was interrupted. Where a
// description cannot be read nothing is removed, since it is not known which parts are its.
func (s *Snapshots) sweep(ctx context.Context) error {
	held, err := s.subjects(ctx, s.subject(">"))
	if err != nil {
		return err
	}
	parts := s.subject("C.")
	named := make(map[string]bool)
	for subject := range held {
		if strings.HasPrefix(subject, parts) {
			continue
		}
		f, err := s.lookAt(ctx, subject)
		if err != nil || f.broken != nil {
			return err
		}
		named[parts+f.object.NUID] = f.kept()
	}
	for subject := range held {
		if !strings.HasPrefix(subject, parts) || named[subject] {
			continue
		}
		switch last, err := s.api.Message(ctx, natsapi.Query{LastOf: subject}); {
		case errors.Is(err, natsapi.ErrNoMessage):
		case err != nil:
			return err
		case time.Since(last.Time) > s.age:
			if err := s.purge(ctx, subject, last.Sequence); err != nil {
				return err
			}
		}
	}
	return nil
}
