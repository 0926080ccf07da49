package importer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
)

const (
	// MaxLineBytes bounds a line, because a line becomes the data of an event by default.
	MaxLineBytes = 1 << 20
	readBuffer   = 64 << 10
)

// lines reads lines of bounded length from plain or gzip-compressed input and counts what it read.
type lines struct {
	source *counter
	reader *bufio.Reader
	number uint64 // of the line read last, from 1
}

// newLines tells by the first two bytes whether the input is compressed.
func newLines(input io.Reader) (*lines, error) {
	l := &lines{source: &counter{from: input}}
	l.reader = bufio.NewReaderSize(l.source, readBuffer)
	magic, err := l.reader.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, l.broken(err)
	}
	if bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		plain, err := gzip.NewReader(l.reader)
		if err != nil {
			return nil, l.broken(err)
		}
		l.reader = bufio.NewReaderSize(plain, readBuffer)
	}
	return l, nil
}

// next returns the next line without its end, in memory of its own; io.EOF after the last. A last line need not end with a newline.
func (l *lines) next() ([]byte, error) {
	var line []byte
	for {
		part, err := l.reader.ReadSlice('\n')
		switch {
		case len(line)+len(part) > MaxLineBytes+1:
			return nil, badLine(l.number+1, "it has more than %d bytes", MaxLineBytes)
		case errors.Is(err, bufio.ErrBufferFull):
			line = append(line, part...)
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return nil, l.broken(err)
		case err != nil && len(line)+len(part) == 0:
			return nil, io.EOF
		}
		l.number++
		return bytes.TrimSuffix(append(line, part...), []byte{'\n'}), nil
	}
}

func (l *lines) broken(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return badLine(l.number+1, "the compressed input ends in the middle")
	}
	return badLine(l.number+1, "the input cannot be read: %s", err)
}

// counter counts the bytes taken from a reader.
type counter struct {
	from io.Reader
	n    int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	return n, err
}
