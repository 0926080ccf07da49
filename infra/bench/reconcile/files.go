package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/reconcile"
)

// flipped flips one bit of each document where it stands in the append-only file, while the server is stopped. Before that, a byte is changed in the file's base, which the server checks.
func flipped(ctx context.Context, d *damage) error {
	if err := d.compact(ctx); err != nil {
		return err
	}
	d.live.Lock()
	defer d.live.Unlock()
	if err := d.book(ctx, d.entities...); err != nil { // so that they stand in the part that is not compacted
		return err
	}
	if err := d.reach(ctx); err != nil {
		return err
	}
	if err := d.stopRedis(); err != nil {
		return err
	}
	if err := d.baseRefused(ctx); err != nil {
		return err
	}
	path, err := newest(d.files(), "*.incr.aof")
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path) //nolint:gosec // our own
	if err != nil {
		return err
	}
	for i, entity := range d.entities {
		ref, a := d.refOf(entity, d.gen), &d.ledger.accounts[entity]
		field, value := "amount", strconv.FormatInt(a.Amount, 10)
		if i%2 == 0 {
			field, value = "city", a.City
		}
		at := bytes.LastIndex(data, []byte(d.doc(ref)+"\r\n"))
		value = fmt.Sprintf("\r\n%s\r\n$%d\r\n%s\r\n", field, len(value), value)
		begin := -1
		if at >= 0 {
			begin = bytes.Index(data[at:min(at+1_000, len(data))], []byte(value))
		}
		if begin < 0 {
			return fmt.Errorf("%s is not in %s", d.doc(ref), filepath.Base(path))
		}
		data[at+begin+len(value)-3] ^= 1 // the last digit of it
		d.find(ref, reconcile.KindAltered, "", "")
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	return d.startRedis(ctx)
}

// baseRefused changes a byte in the middle of the file's base and tries to start the server. If it starts, that is wrong.
func (p *proof) baseRefused(ctx context.Context) error {
	path, err := newest(p.files(), "*.base.rdb")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // our own
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // written through
	info, err := f.Stat()
	if err != nil {
		return err
	}
	middle, one := info.Size()/2, make([]byte, 1)
	if _, err := f.ReadAt(one, middle); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte{one[0] ^ 1}, middle); err != nil {
		return err
	}
	err = p.startRedis(ctx)
	p.table.prove(err != nil, "a bit flipped in the base, which has a checksum", "Redis does not start with it")
	if err == nil {
		if err := p.stopRedis(); err != nil {
			return err
		}
	}
	_, err = f.WriteAt(one, middle)
	return err
}

func newest(dir, pattern string) (string, error) {
	list, err := filepath.Glob(filepath.Join(dir, "appendonlydir", pattern))
	if err != nil || len(list) == 0 {
		return "", fmt.Errorf("there is no %s in %s (%w)", pattern, dir, err)
	}
	return list[len(list)-1], nil
}

// restarts replaces Redis by what it was earlier, and moves checkpoints.
func (p *proof) restarts(ctx context.Context) error {
	if err := p.restored(ctx); err != nil {
		return err
	}
	for _, by := range []int64{-1_000, 1_000} {
		if err := p.moved(ctx, by); err != nil {
			return err
		}
	}
	return nil
}

// restored puts an old copy of Redis's files back. The read model is as it was then: right, and behind; its projector goes on from there.
func (p *proof) restored(ctx context.Context) error {
	p.table.head("Redis is replaced by an old copy of itself")
	if err := p.compact(ctx); err != nil {
		return err
	}
	if err := p.stopRedis(); err != nil {
		return err
	}
	old := filepath.Join(p.dir.Path(), "old")
	if err := os.CopyFS(old, os.DirFS(filepath.Join(p.files(), "appendonlydir"))); err != nil {
		return err
	}
	if err := p.startRedis(ctx); err != nil {
		return err
	}
	before, err := p.head(ctx)
	if err != nil {
		return err
	}
	for range 20 { // a day, in short
		p.live.Lock()
		entities := make([]int, events.MaxBatch)
		for i := range entities {
			entities[i] = p.ledger.busy()
		}
		err := p.book(ctx, entities...)
		p.live.Unlock()
		if err != nil {
			return err
		}
	}
	if err := p.audited(ctx, "the day after"); err != nil {
		return err
	}
	now, err := p.head(ctx)
	if err != nil {
		return err
	}
	if err := p.stopRedis(); err != nil {
		return err
	}
	target := filepath.Join(p.files(), "appendonlydir")
	if err := errors.Join(os.RemoveAll(target), os.CopyFS(target, os.DirFS(old))); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	began := time.Now()
	if err := p.startRedis(ctx); err != nil {
		return err
	}
	loaded := time.Since(began)
	r, _, _, err := p.examine(ctx, false)
	if err != nil {
		return err
	}
	p.table.prove(len(r.Findings) == 0, "examined while it catches up", "%s, %d of %d partitions' sums compared", summary(r), r.Compared, r.Partitions)
	resume, err := p.settled(ctx)
	if err != nil {
		return err
	}
	resume()
	p.table.line("put back", "%d records behind; loaded in %s; its projector went on from there", now-before, seconds(loaded))
	if err := p.audited(ctx, "  afterwards"); err != nil {
		return err
	}
	return p.clean(ctx)
}

// head returns the sequence of the log's last record.
func (p *proof) head(ctx context.Context) (uint64, error) {
	info, err := p.log.Info(ctx)
	return info.Last, err
}

// moved moves the checkpoint of one partition, in the header. Its projector refuses to go on, and a replay puts it right.
func (p *proof) moved(ctx context.Context, by int64) error {
	p.table.head(fmt.Sprintf("A partition's checkpoint is moved by %+d", by))
	gen, err := p.generation(ctx)
	if err != nil {
		return err
	}
	const partition = 3
	resume, err := p.settled(ctx)
	if err != nil {
		return err
	}
	head := tag(gen, partition) + ":head"
	stored, err := p.redis.HGet(ctx, head, "at").Result()
	if err == nil {
		var at events.Position
		at, err = events.ParsePosition(stored)
		sequence := int64(projections.SequenceOf(at)) + by                                         //nolint:gosec // a log of some millions
		err = errors.Join(err, p.redis.HSet(ctx, head, "at", p.ledger.at(uint64(sequence))).Err()) //nolint:gosec // not negative
	}
	resume()
	if err != nil {
		return err
	}
	began := time.Now()
	var status projections.Status
	err = p.until(ctx, "the projector notices", func() (_ bool, err error) {
		status, _, err = projections.ReadStatus(ctx, p.kv, name)
		return status.Code != "", err
	})
	if err != nil {
		return err
	}
	p.table.prove(true, "its projector notices", "%s, in %s", status.Code, seconds(time.Since(began)))
	began = time.Now()
	if _, err := projections.RequestReplay(ctx, p.kv, name, "proof", time.Now()); err != nil {
		return err
	}
	err = p.until(ctx, "the replay has ended", func() (bool, error) {
		job, _, err := projections.ReadJSON[projections.Replay](ctx, p.kv, projections.ReplayKey(name))
		return !job.Running(), err
	})
	if err != nil {
		return err
	}
	p.table.line("built anew from the log", "%s", seconds(time.Since(began)))
	if err := p.audited(ctx, "  afterwards"); err != nil {
		return err
	}
	return p.clean(ctx)
}
