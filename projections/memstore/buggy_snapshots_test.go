package memstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

// buggySnapshots are good Snapshots with one planted bug.
type buggySnapshots struct {
	*memstore.Snapshots
	bug string
}

// short ends a body early.
type short struct{ io.Reader }

func (s short) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

func (b *buggySnapshots) Put(ctx context.Context, s projections.Snapshot, body io.Reader) (projections.Snapshot, error) {
	switch b.bug {
	case "what fails is kept as far as it came":
		body = short{body}
	case "an early end is an end":
		body = &endsEarly{body}
	case "a body ends with its first empty read":
		body = &endsEmpty{body}
	case "a body is cut at a size":
		body = io.LimitReader(body, 2<<20)
	case "an id that is taken is replaced":
		_ = b.Delete(ctx, s.Projection, s.ID)
	case "a snapshot is listed before it is whole":
		return b.early(ctx, s, body)
	case "a body outlives its context":
		ctx = context.WithoutCancel(ctx)
	case "names are made to fit":
		s.ID = strings.ToLower(s.ID)
	}
	kept, err := b.Snapshots.Put(ctx, s, body)
	switch {
	case b.bug == "the error of a body is another" && err != nil:
		err = events.Errorf(events.ErrUnreachable, "the body failed: %s", err.Error())
	case b.bug == "a given length is believed" && s.Bytes > 0:
		kept.Bytes = s.Bytes
	case b.bug == "two may have one id" && errors.Is(err, events.ErrConflict):
		err = nil
	}
	return kept, err
}

// early keeps an empty snapshot first, and replaces it.
func (b *buggySnapshots) early(ctx context.Context, s projections.Snapshot, body io.Reader) (projections.Snapshot, error) {
	if kept, err := b.Snapshots.Put(ctx, s, bytes.NewReader(nil)); err != nil {
		return kept, err
	}
	content, err := io.ReadAll(body)
	if err := errors.Join(err, b.Delete(ctx, s.Projection, s.ID)); err != nil {
		return s, err
	}
	return b.Snapshots.Put(ctx, s, bytes.NewReader(content))
}

type endsEarly struct{ io.Reader }

func (e *endsEarly) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

type endsEmpty struct{ io.Reader }

func (e *endsEmpty) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

func (b *buggySnapshots) List(ctx context.Context, projection string) ([]projections.Snapshot, error) {
	list, err := b.Snapshots.List(ctx, projection)
	switch b.bug {
	case "the oldest is listed first":
		slices.Reverse(list)
	case "names of projections are prefixes":
		for _, more := range []string{"-2", "2"} {
			others, _ := b.Snapshots.List(ctx, projection+more)
			list = append(list, others...)
		}
	case "sequences are signed":
		slices.SortStableFunc(list, func(x, y projections.Snapshot) int { return int(int64(y.Sequence)>>32) - int(int64(x.Sequence)>>32) }) //nolint:gosec // that is the bug
	}
	return list, err
}

func (b *buggySnapshots) Open(ctx context.Context, projection, id string) (io.ReadCloser, error) {
	if b.bug == "an ended context is ignored by readers" {
		ctx = context.WithoutCancel(ctx)
	}
	r, err := b.Snapshots.Open(ctx, projection, id)
	switch {
	case b.bug == "what is unknown is empty" && errors.Is(err, projections.ErrUnknownSnapshot):
		return io.NopCloser(bytes.NewReader(nil)), nil
	case b.bug == "damage is not looked for" && err == nil:
		return struct {
			io.Reader
			io.Closer
		}{short{r}, r}, nil
	}
	return r, err
}

func (b *buggySnapshots) Delete(ctx context.Context, projection, id string) error {
	if b.bug == "a second deletion fails" {
		if _, err := b.Snapshots.Open(ctx, projection, id); err != nil {
			return err
		}
	}
	if b.bug == "a deletion is forgotten" {
		return nil
	}
	return b.Snapshots.Delete(ctx, projection, id)
}
