package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair returns the gateway's end of a connection, whose kernel buffers at least buffer bytes, and
// the client's end, whose kernel buffers little.
func pair(t *testing.T, buffer int) (ours net.Conn, client *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client = raw.(*net.TCPConn)
	ours, err = Listener{Listener: l}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ours.Close(), client.Close() })
	if err := errors.Join(client.SetReadBuffer(4096), ours.(*conn).Conn.(*net.TCPConn).SetWriteBuffer(buffer)); err != nil {
		t.Fatal(err)
	}
	return ours, client
}

// A reader that takes some bytes now and then is not cut off, whether or not the kernel takes more
// bytes because of them.
func TestASlowReaderIsWaitedFor(t *testing.T) {
	for name, buffer := range map[string]int{"a small buffer": 8 << 10, "a large one": 64 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const patience = 500 * time.Millisecond
			ours, client := pair(t, buffer)
			text := bytes.Repeat([]byte("0123456789abcdef"), 1<<20/16)
			wrote := make(chan error, 1)
			go func() {
				_ = ours.SetWriteDeadline(time.Now().Add(patience))
				_, err := ours.Write(text)
				wrote <- err
			}()
			chunk := make([]byte, 4096)
			for at := range 4 * patience / (50 * time.Millisecond) {
				if _, err := io.ReadFull(client, chunk); err != nil || !bytes.Equal(chunk, text[:len(chunk)]) {
					t.Fatalf("piece %d: %v", at, err)
				}
				time.Sleep(50 * time.Millisecond)
			}
			select {
			case err := <-wrote:
				t.Errorf("the write ended: %v", err)
			default:
			}
			_ = client.Close()
			<-wrote
		})
	}
}

// A reader that takes nothing is cut off.
func TestAReaderThatStopsIsCut(t *testing.T) {
	const patience = 400 * time.Millisecond
	ours, _ := pair(t, 8<<10)
	began := time.Now()
	_ = ours.SetWriteDeadline(began.Add(patience))
	n, err := ours.Write(make([]byte, 8<<20))
	if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || took < patience*9/10 || took > 2*patience {
		t.Errorf("%d bytes, %v after %v", n, err, took)
	}
}

// Deadlines that have passed, or are cleared, work as usual.
func TestOtherDeadlines(t *testing.T) {
	ours, client := pair(t, 8<<10)
	_ = ours.SetWriteDeadline(time.Unix(1, 0))
	if _, err := ours.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after its deadline: %v", err)
	}
	_ = ours.SetDeadline(time.Time{})
	if _, err := ours.Write([]byte("y")); err != nil {
		t.Error(err)
	}
	_ = ours.(*conn).CloseWrite()
	if got, err := io.ReadAll(client); string(got) != "y" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

// What arrives while the machine stands still is read although the deadline has passed, once. A deadline that
// interrupts a read gives nothing.
func TestWhatHasArrivedIsReadAfterTheDeadline(t *testing.T) {
	t.Parallel()
	ours, client := pair(t, 8<<10)
	read := func(deadline time.Duration, arrives string) (string, error) {
		t.Helper()
		if err := ours.SetReadDeadline(time.Now().Add(deadline)); err != nil {
			t.Fatal(err)
		}
		if arrives != "" {
			if _, err := io.WriteString(client, arrives); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(100 * time.Millisecond) // for longer than the deadline
		p := make([]byte, 3)
		n, err := ours.Read(p)
		return string(p[:n]), err
	}
	if got, err := read(-time.Second, "one"); got != "" || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("interrupted: %q, %v", got, err)
	}
	if got, err := read(10*time.Millisecond, "two"); got != "one" || err != nil {
		t.Errorf("after the deadline: %q, %v", got, err)
	}
	if n, err := ours.Read(make([]byte, 3)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a second time: %d bytes, %v", n, err)
	}
	if got, err := read(10*time.Millisecond, ""); got != "two" || err != nil {
		t.Errorf("with the next deadline: %q, %v", got, err)
	}
	if got, err := read(10*time.Millisecond, ""); got != "" || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nothing has arrived: %q, %v", got, err)
	}
	_ = client.CloseWrite()
	if got, err := read(10*time.Millisecond, ""); got != "" || err != io.EOF {
		t.Errorf("at the end: %q, %v", got, err)
	}
}

// A write without a deadline, such as TLS makes in the midst of a read, does not wait for a client for ever.
func TestAWriteWithoutADeadline(t *testing.T) {
	t.Parallel()
	ours, _ := pair(t, 8<<10)
	ours.(*conn).standard = 200 * time.Millisecond
	for _, when := range []string{"before any deadline", "after one was lifted"} {
		if n, err := ours.Write(make([]byte, 16<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %d bytes, %v", when, n, err)
		}
		if err := errors.Join(ours.SetWriteDeadline(time.Now().Add(time.Hour)), ours.SetWriteDeadline(time.Time{})); err != nil {
			t.Fatal(err)
		}
	}
}
