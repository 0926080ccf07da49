package natsobjects

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
	"tidemark.dev/projections"
)

// errTaken says that the subject of a write is elsewhere than expected.
var errTaken = errors.New("somebody else wrote it")

// Put keeps a snapshot. One of that id that is kept already is events.ErrConflict, and stays as it is. When the answer to the very last request is lost, and ErrUnreachable is
// returned, the snapshot may be kept: it is listed then, and whole.
func (s *Snapshots) Put(ctx context.Context, snapshot projections.Snapshot, body io.Reader) (projections.Snapshot, error) {
	if err := projections.ValidateSnapshot(snapshot.Projection, snapshot.ID); err != nil {
		return projections.Snapshot{}, err
	}
	what := "put the snapshot " + snapshot.ID + " of projection " + snapshot.Projection
	found, err := s.look(ctx, snapshot.Projection, snapshot.ID)
	switch {
	case err != nil:
		return projections.Snapshot{}, s.failed(ctx, what, err)
	case found.kept():
		return projections.Snapshot{}, taken(snapshot)
	}
	if err := s.sweep(ctx); err != nil {
		return projections.Snapshot{}, s.failed(ctx, what, err)
	}
	o := jetstream.ObjectInfo{ObjectMeta: jetstream.ObjectMeta{Opts: &jetstream.ObjectMetaOptions{ChunkSize: uint32(s.part)}}, Bucket: s.bucket, NUID: events.NewID()} //nolint:gosec // at most maxPart
	if err := s.putParts(ctx, &o, body); err != nil {
		s.remove(ctx, o.NUID)
		if own, failed := errors.AsType[bodyError](err); failed {
			return projections.Snapshot{}, own.error
		}
		return projections.Snapshot{}, s.failed(ctx, what, err)
	}
	snapshot.Bytes = o.Size
	if err := describe(&o, snapshot); err != nil {
		s.remove(ctx, o.NUID)
		return projections.Snapshot{}, err
	}
	switch err := s.putDescription(ctx, o, found.revision); {
	case errors.Is(err, errTaken):
		s.remove(ctx, o.NUID)
		return projections.Snapshot{}, taken(snapshot)
	case err != nil: // it may be stored, and its parts have to stay; if it is not, they are swept away one day
		return projections.Snapshot{}, s.failed(ctx, what, err)
	}
	return snapshot, nil
}

func taken(snapshot projections.Snapshot) error {
	return events.Errorf(events.ErrConflict, "projection %s has a snapshot %s already; nothing was kept", snapshot.Projection, snapshot.ID).
		Hint("Choose another id, or delete that one first.")
}

// bodyError is an error of the body, which is returned as it is.
type bodyError struct{ error }

// putParts stores a body in parts, and notes their number, their bytes and their digest. Then it looks whether all of them are still there.
func (s *Snapshots) putParts(ctx context.Context, o *jetstream.ObjectInfo, body io.Reader) error {
	subject, digest := s.subject("C."+o.NUID), sha256.New()
	buffer := make([]byte, s.part)
	var last uint64
	for more := true; more; {
		n, err := fill(buffer, body)
		if err != nil {
			return bodyError{err}
		}
		if n == 0 {
			break
		}
		more = n == len(buffer)
		if last, err = s.storePart(ctx, subject, buffer[:n], last); err != nil {
			return err
		}
		_, _ = digest.Write(buffer[:n]) // never fails
		o.Chunks++
		o.Size += uint64(n) //nolint:gosec // not negative
	}
	o.Digest = jetstream.GetObjectDigestValue(digest)
	if o.Chunks == 0 {
		return nil
	}
	held, err := s.subjects(ctx, subject)
	if err == nil && held[subject] != uint64(o.Chunks) {
		err = gone()
	}
	return err
}

// fill reads until a buffer is full or the body ends. io.ReadFull does not tell the end from a body that fails with io.ErrUnexpectedEOF, as one does that unpacks half an archive.
func fill(buffer []byte, body io.Reader) (n int, err error) {
	for n < len(buffer) {
		m, err := body.Read(buffer[n:])
		if n += m; err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// gone says that parts were removed while others were still being put.
func gone() error {
	return events.Errorf(projections.ErrSnapshotDamaged, "its parts were removed while it was being put; nothing was kept").Hint("Put it again.")
}

// List returns the snapshots of a projection, the one of the largest sequence first. Objects that are not ours are left out.
func (s *Snapshots) List(ctx context.Context, projection string) ([]projections.Snapshot, error) {
	if err := projections.ValidateSnapshot(projection, "any"); err != nil {
		return nil, err
	}
	what := "list the snapshots of projection " + projection
	held, err := s.subjects(ctx, s.subject("M.>"))
	if err != nil {
		return nil, s.failed(ctx, what, err)
	}
	var list []projections.Snapshot
	for subject := range held {
		of, id, ours := s.named(subject)
		if !ours || of != projection {
			continue
		}
		found, err := s.look(ctx, projection, id)
		if err != nil {
			return nil, s.failed(ctx, what, err)
		}
		if snapshot, err := found.snapshot(projection, id); err == nil {
			list = append(list, snapshot)
		}
	}
	projections.SortSnapshots(list)
	return list, nil
}

// Open returns the content of a snapshot. Its parts are asked for as they are read, within ctx.
func (s *Snapshots) Open(ctx context.Context, projection, id string) (io.ReadCloser, error) {
	if err := projections.ValidateSnapshot(projection, id); err != nil {
		return nil, err
	}
	what := "read the snapshot " + id + " of projection " + projection
	found, err := s.look(ctx, projection, id)
	if err != nil {
		return nil, s.failed(ctx, what, err)
	}
	if !found.kept() {
		return nil, events.Errorf(projections.ErrUnknownSnapshot, "projection %s has no snapshot %s", projection, id)
	}
	if _, err := found.snapshot(projection, id); err != nil {
		return nil, err
	}
	return newReader(ctx, s, what, found.object), nil
}

// Delete removes a snapshot: first its description, then its parts. Whoever reads it is told that it is damaged.
func (s *Snapshots) Delete(ctx context.Context, projection, id string) error {
	if err := projections.ValidateSnapshot(projection, id); err != nil {
		return err
	}
	what := "delete the snapshot " + id + " of projection " + projection
	found, err := s.look(ctx, projection, id)
	if err != nil {
		return s.failed(ctx, what, err)
	}
	if !found.kept() {
		return nil
	}
	// Up to the one that was found: the next one of that id may be there by now.
	if err := s.purge(ctx, s.descriptionOf(projection, id), found.revision); err != nil {
		return s.failed(ctx, what, err)
	}
	if found.object.NUID == "" { // its parts are not known; they are swept away one day
		return nil
	}
	if err := s.purge(ctx, s.subject("C."+found.object.NUID), 0); err != nil {
		return s.failed(ctx, what, err)
	}
	return nil
}

// subjects returns how many messages each subject of a filter has.
func (s *Snapshots) subjects(ctx context.Context, filter string) (map[string]uint64, error) {
	all := make(map[string]uint64)
	for {
		var answer struct {
			natsapi.Answer
			jetstream.StreamInfo
			Total int `json:"total"`
		}
		request := struct {
			Filter string `json:"subjects_filter"`
			Offset int    `json:"offset"`
		}{filter, len(all)}
		if err := s.api.Call(ctx, "STREAM.INFO."+s.api.Stream, request, &answer); err != nil {
			return nil, s.api.Unanswered(err)
		}
		for subject, n := range answer.State.Subjects {
			all[subject] = n
		}
		if len(answer.State.Subjects) == 0 || len(all) >= answer.Total {
			return all, nil
		}
	}
}

// purge removes the messages of a subject up to a sequence; 0: all of them.
func (s *Snapshots) purge(ctx context.Context, subject string, last uint64) error {
	request := struct {
		Filter string `json:"filter"`
		Before uint64 `json:"seq,omitempty"`
	}{Filter: subject}
	if last > 0 {
		request.Before = last + 1
	}
	if err := s.api.Call(ctx, "STREAM.PURGE."+s.api.Stream, request, &natsapi.Answer{}); err != nil {
		return s.api.Unanswered(err)
	}
	return nil
}
