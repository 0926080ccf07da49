package projector

import "tidemark.dev/projections"

// entry is a document in memory.
type entry struct {
	key       string
	partition int
	state     projections.State
	at        string // position of the last change, as text; as stored until last is set
	last      uint64 // sequence of the last change in memory; 0: none since it was loaded
	parked    string
	digest    projections.Digest // as counted in the partition's digest
	indexed   indexed            // as counted
	stored    bool               // the store has something under its key
	counted   bool               // the partition's digest counts it
	parkedOld bool               // the counted one is parked
	repaired  bool               // what is stored was changed behind our back
	exists    bool               // it exists now
	appeared  bool               // it existed at some event since it was committed last
	loaded    bool
	dirty     bool
	fresh     bool // it changed since the partition's digest counted it

	newer, older *entry
}

// cache keeps the documents used last. It never drops one by itself: shrink does, between batches.
type cache struct {
	most   int
	byKey  map[string]*entry
	newest *entry
	oldest *entry
}

func newCache(most int) *cache {
	return &cache{most: most, byKey: make(map[string]*entry)}
}

// get returns the entry of a key, new when the key is not in the cache, and moves it to the front.
func (c *cache) get(key string) *entry {
	e, ok := c.byKey[key]
	switch {
	case !ok:
		e = &entry{key: key}
		c.byKey[key] = e
	case e == c.newest:
		return e
	default:
		c.unlink(e)
	}
	e.older = c.newest
	if c.newest != nil {
		c.newest.newer = e
	}
	c.newest = e
	if c.oldest == nil {
		c.oldest = e
	}
	return e
}

func (c *cache) unlink(e *entry) {
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		c.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		c.oldest = e.newer
	}
	e.newer, e.older = nil, nil
}

// shrink drops the oldest entries over the bound. The caller must not hold any.
func (c *cache) shrink() {
	for len(c.byKey) > c.most {
		e := c.oldest
		c.unlink(e)
		delete(c.byKey, e.key)
	}
}

func (c *cache) clear() {
	clear(c.byKey)
	c.newest, c.oldest = nil, nil
}
