package logwriter

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// locked is a buffer that can be read during writes.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
	n  int
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	return l.b.Write(p)
}

// Text without a final newline is written too, however long it is.
func TestTextWithoutALineEnd(t *testing.T) {
	for _, text := range []string{"", "x", strings.Repeat("x", pipeBuf), strings.Repeat("x", pipeBuf+1), "a\n" + strings.Repeat("x", 2*pipeBuf)} {
		to := &locked{}
		w := New(to, 1<<20)
		_, _ = w.Write([]byte(text))
		w.Close(time.Second)
		select {
		case <-w.done:
		default:
			t.Errorf("%d bytes: writing continues after Close", len(text))
		}
		to.mu.Lock()
		if to.b.String() != text {
			t.Errorf("%d bytes: %d were written in %d writes", len(text), to.b.Len(), to.n)
			to.mu.Unlock()
			return
		}
		to.mu.Unlock()
	}
}
