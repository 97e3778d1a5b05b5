package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// frame makes one WebSocket frame.
func frame(payload int, masked bool) []byte {
	f := []byte{0x82, 0}
	switch {
	case payload < 126:
		f[1] = byte(payload)
	case payload < 1<<16:
		f[1] = 126
		f = binary.BigEndian.AppendUint16(f, uint16(payload))
	default:
		f[1] = 127
		f = binary.BigEndian.AppendUint64(f, uint64(payload))
	}
	if masked {
		f[1] |= 0x80
		f = append(f, 1, 2, 3, 4)
	}
	return append(f, bytes.Repeat([]byte{0x88}, payload)...)
}

// Frame ends are found however the bytes are split.
func TestFramesFollow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 2, 125, 126, 127, 500, 65535, 65536, 70000}), 1, 5).Draw(t, "sizes")
		masked := rapid.Bool().Draw(t, "masked")
		var stream []byte
		ends := map[int]bool{0: true}
		for _, n := range sizes {
			stream = append(stream, frame(n, masked)...)
			ends[len(stream)] = true
		}
		var f frames
		for at := 0; at < len(stream); {
			piece := min(rapid.SampledFrom([]int{1, 2, 3, 7, 1000, 70000}).Draw(t, "piece"), len(stream)-at)
			if rapid.Bool().Draw(t, "to the end of a frame") {
				taken := f.next(stream[at : at+piece])
				if taken < piece && !ends[at+taken] {
					t.Fatalf("stopped at %d, which is no end", at+taken)
				}
				at += taken
			} else {
				f.follow(stream[at : at+piece])
				at += piece
			}
			if f.between() != ends[at] {
				t.Fatalf("at %d of %v: between = %v", at, sizes, f.between())
			}
		}
	})
}

var farewell = []byte{0x88, 2, 3, 0xe9}

// The current frame is completed before the close frame, which is the last.
func TestLeaveWithinAFrame(t *testing.T) {
	ours, upstream := net.Pipe()
	t.Cleanup(func() { _, _ = ours.Close(), upstream.Close() })
	b := &switchedBody{ReadWriteCloser: ours, release: func() {}}
	message := frame(1000, false)
	go func() {
		_, _ = upstream.Write(message[:300])
		told := make([]byte, 8)
		_, _ = io.ReadFull(upstream, told)
		if !bytes.Equal(told, []byte{0x88, 0x82, 0, 0, 0, 0, 3, 0xe9}) {
			t.Errorf("the upstream is told %x", told)
		}
		_, _ = upstream.Write(append(message[300:], frame(10, false)...))
	}()
	first := make([]byte, 300)
	if _, err := io.ReadFull(b, first); err != nil {
		t.Fatal(err)
	}
	go b.leave()
	rest, err := io.ReadAll(iotest.OneByteReader(b))
	if want := append(message[300:], farewell...); err != nil || !bytes.Equal(rest, want) {
		t.Errorf("read %d bytes, %v; want %d", len(rest), err, len(want))
	}
	if n, err := b.Write(frame(5, true)); n != 11 || err != nil {
		t.Errorf("what the client still says: %d, %v", n, err)
	}
}

// Between frames, a waiting read ends with the close frame.
func TestLeaveBetweenFrames(t *testing.T) {
	ours, upstream := net.Pipe()
	t.Cleanup(func() { _, _ = ours.Close(), upstream.Close() })
	b := &switchedBody{ReadWriteCloser: ours, release: func() {}}
	go func() {
		_, _ = io.Copy(io.Discard, upstream)
	}()
	read := make(chan []byte)
	go func() {
		text, err := io.ReadAll(b)
		if err != nil {
			t.Error(err)
		}
		read <- text
	}()
	b.leave()
	if got := <-read; !bytes.Equal(got, farewell) {
		t.Errorf("read %x", got)
	}
}

// After an upstream that breaks off within a frame, no close frame can follow.
func TestLeaveAfterABreakWithinAFrame(t *testing.T) {
	ours, upstream := net.Pipe()
	t.Cleanup(func() { _, _ = ours.Close(), upstream.Close() })
	b := &switchedBody{ReadWriteCloser: ours, release: func() {}}
	go func() {
		_, _ = upstream.Write(frame(1000, false)[:300])
		_ = upstream.Close()
	}()
	first := make([]byte, 300)
	if _, err := io.ReadFull(b, first); err != nil {
		t.Fatal(err)
	}
	b.leave()
	if n, err := b.Read(first); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d, %v", n, err)
	}
}
