package faultproxy

import (
	"net"
	"time"
)

// tap reads one end of a connection. Before it waits, it flushes what was copied
// to the other end: so nothing lies about, and what arrives together leaves
// together. It counts bytes, and is where they get lost.
type tap struct {
	c        *conn
	from     net.Conn
	flush    func() error
	reply    bool  // the server's end, whose bytes are throttled
	arrivals int64 // reads so far
}

// throttleSteps is how many times a second a throttled connection gets bytes.
const throttleSteps = 20

func (t *tap) Read(p []byte) (int, error) {
	if err := t.flush(); err != nil {
		return 0, err
	}
	if rate := t.c.now().Throttle; t.reply && rate > 0 {
		p = p[:min(len(p), max(1, rate/throttleSteps))]
	}
	n, err := t.from.Read(p)
	now := t.c.now() // the read may have begun before the fault was set
	if now.silent() {
		return 0, t.c.swallow(t.from)
	}
	t.arrivals++
	t.c.p.counters.add(func(s *Stats) {
		if t.reply {
			s.BytesOut += int64(n)
		} else {
			s.BytesIn += int64(n)
		}
	})
	if t.reply && now.Throttle > 0 && n > 0 && err == nil {
		err = t.c.sleep(now, time.Duration(n)*time.Second/time.Duration(now.Throttle))
	}
	return n, err
}
