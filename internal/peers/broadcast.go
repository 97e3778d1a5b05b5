package peers

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/jewgo/gateway/internal/journal"
)

// The paths of the Handler.
const (
	recordsPath = "/v1/records"
	helloPath   = "/v1/hello"
)

// Bounds of what a peer's answer may hold.
const (
	maxAnswer = 64 << 10
	maxPull   = 256 << 20
)

// errAnswer is an answer that no holder of the key gave to this request.
var errAnswer = errors.New("the answer is not signed by a peer")

// ask sends one signed request. The caller closes the answer's body.
func (p *Peers) ask(ctx context.Context, to Peer, method, path string, body []byte) (*http.Response, question, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+to.Address+path, bytes.NewReader(body))
	if err != nil {
		return nil, question{}, err
	}
	req.Header.Set(fromHeader, encodePeer(p.cfg.Self()))
	asked := p.sign.sign(req, body)
	resp, err := p.cfg.Client.Do(req)
	return resp, asked, err
}

// refusal is the error of an answer that is not the one hoped for.
func refusal(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 256)) // as much as there is
	return fmt.Errorf("status %d: %s", resp.StatusCode, strings.TrimSpace(string(text)))
}

// exchange sends one request and reads its answer, which is short.
func (p *Peers) exchange(ctx context.Context, to Peer, method, path string, body []byte, want int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.PeerTimeout)
	defer cancel()
	resp, asked, err := p.ask(ctx, to, method, path, body)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != want {
		return nil, refusal(resp)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if !asked.answered(resp, answer) {
		return nil, errAnswer
	}
	return answer, nil
}

// post has a peer apply a batch.
func (p *Peers) post(ctx context.Context, to Peer, records []journal.Record) error {
	_, err := p.exchange(ctx, to, http.MethodPost, recordsPath, encodeBatch(records), http.StatusNoContent)
	return err
}

// hello asks whether the peer is there, and who it is: another may have been
// started in its place.
func (o *outbox) hello(ctx context.Context) error {
	body, err := o.peers.exchange(ctx, o.peerNow(), http.MethodGet, helloPath, nil, http.StatusOK)
	if err != nil {
		return err
	}
	var peer Peer
	if err := json.Unmarshal(body, &peer); err != nil {
		return fmt.Errorf("read hello: %w", err)
	}
	if peer.ID == o.peers.cfg.Self().ID {
		o.peers.drop(o)
		return errors.New("it is this gateway itself, under another address")
	}
	peer.Seen = o.peers.cfg.Now()
	o.peers.Learn([]Peer{peer})
	return nil
}

// pull merges what a peer holds, batch by batch.
func (p *Peers) pull(ctx context.Context, from Peer) error {
	resp, asked, err := p.ask(ctx, from, http.MethodGet, recordsPath+"?digest="+digest(p.cfg.Snapshot()), nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	total := 0
	for index := uint64(0); ; index++ {
		batch, err := readChunk(resp.Body, asked, index)
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			return nil
		}
		if total += len(batch); total > maxPull {
			return fmt.Errorf("more than %d bytes of records", maxPull)
		}
		records, err := decodeBatch(batch)
		if err != nil {
			return err
		}
		if err := p.cfg.Apply(ctx, records); err != nil {
			return fmt.Errorf("apply records: %w", err)
		}
	}
}

// A chunk is a batch after its length in 4 bytes and its MAC.
const chunkHead = 4 + sha256.Size

func writeChunk(w io.Writer, asked question, index uint64, batch []byte) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, chunkHead+len(batch)), uint32(len(batch)))
	b = append(b, asked.chunk(index, batch)...)
	_, err := w.Write(append(b, batch...))
	return err
}

func readChunk(r io.Reader, asked question, index uint64) ([]byte, error) {
	var head [chunkHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("records end early: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxBatch {
		return nil, journal.ErrEncoding
	}
	batch := make([]byte, n)
	if _, err := io.ReadFull(r, batch); err != nil {
		return nil, fmt.Errorf("records end early: %w", err)
	}
	if !hmac.Equal(head[4:], asked.chunk(index, batch)) {
		return nil, errAnswer
	}
	return batch, nil
}

// digest is the same for the same records in any order.
func digest(records []journal.Record) string {
	var sum [sha256.Size]byte
	var b []byte
	for _, r := range records {
		b = r.AppendTo(b[:0])
		for i, x := range sha256.Sum256(b) {
			sum[i] ^= x
		}
	}
	return hex.EncodeToString(sum[:])
}
