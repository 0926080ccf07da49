package natsobjects

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
	"tidemark.dev/projections"
)

// metadataKey is where an object has the description of its snapshot.
const metadataKey = "tidemark-snapshot"

// found is the description of an object as it is stored.
type found struct {
	object   jetstream.ObjectInfo
	revision uint64 // its sequence; 0: there is none
	broken   error  // it cannot be read
}

// kept reports whether there is an object. One that somebody deleted with another client left a marker.
func (f found) kept() bool { return f.revision > 0 && !f.object.Deleted }

// snapshot returns the snapshot that an object is: an error when it is none.
func (f found) snapshot(projection, id string) (projections.Snapshot, error) {
	var snapshot projections.Snapshot
	err := f.broken
	if err == nil {
		err = json.Unmarshal([]byte(f.object.Metadata[metadataKey]), &snapshot)
	}
	if err == nil && (!f.kept() || snapshot.Projection != projection || snapshot.ID != id) {
		err = errors.New("it is of something else")
	}
	if err != nil {
		return projections.Snapshot{}, events.Errorf(projections.ErrSnapshotDamaged, "the description of the snapshot %s of projection %s cannot be read: %w", id, projection, err).
			Hint("Delete it, and use another one.")
	}
	snapshot.Bytes = f.object.Size
	return snapshot, nil
}

// describe puts a snapshot's name and description into an object.
func describe(o *jetstream.ObjectInfo, snapshot projections.Snapshot) error {
	text, err := json.Marshal(snapshot)
	if err != nil {
		return events.Errorf(projections.ErrSnapshotDamaged, "the description of the snapshot %s cannot be written: %w", snapshot.ID, err)
	}
	o.Name = snapshot.Projection + "/" + snapshot.ID
	o.Description = "tidemark snapshot"
	o.Metadata = map[string]string{metadataKey: string(text)}
	return nil
}

// descriptionOf returns the subject of a snapshot's description.
func (s *Snapshots) descriptionOf(projection, id string) string {
	return s.subject("M." + base64.URLEncoding.EncodeToString([]byte(projection+"/"+id)))
}

// named returns which snapshot a description's subject is of.
func (s *Snapshots) named(subject string) (projection, id string, ours bool) {
	name, err := base64.URLEncoding.DecodeString(strings.TrimPrefix(subject, s.subject("M.")))
	if err != nil {
		return "", "", false
	}
	projection, id, _ = strings.Cut(string(name), "/")
	return projection, id, projections.ValidateSnapshot(projection, id) == nil
}

// look asks the leader for a description.
func (s *Snapshots) look(ctx context.Context, projection, id string) (found, error) {
	return s.lookAt(ctx, s.descriptionOf(projection, id))
}

func (s *Snapshots) lookAt(ctx context.Context, subject string) (found, error) {
	m, err := s.api.Message(ctx, natsapi.Query{LastOf: subject})
	switch {
	case errors.Is(err, natsapi.ErrNoMessage):
		return found{}, nil
	case err != nil:
		return found{}, err
	}
	f := found{revision: m.Sequence}
	f.broken = json.Unmarshal(m.Data, &f.object)
	return f, nil
}

// putDescription stores the description of an object whose parts are all there, if the name is where it was: errTaken.
func (s *Snapshots) putDescription(ctx context.Context, o jetstream.ObjectInfo, revision uint64) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	m := nats.NewMsg(s.subject("M." + base64.URLEncoding.EncodeToString([]byte(o.Name))))
	m.Data = text
	m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject) // of a marker nothing stays
	_, err = s.store(ctx, m, revision, func(last *natsapi.Message) bool {
		var stored jetstream.ObjectInfo
		return json.Unmarshal(last.Data, &stored) == nil && stored.NUID == o.NUID
	})
	return err
}
