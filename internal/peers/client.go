package peers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/journal"
)

// The paths of the Handler, and the header that identifies the sender: a Peer in JSON, base64url.
const (
	recordsPath = "/v1/records"
	helloPath   = "/v1/hello"
	fromHeader  = "Gateway-Peer"
)

// Bounds of a peer's reply, in bytes.
const (
	maxAnswer = 64 << 10
	maxPull   = 256 << 20
)

// newClient returns a client that asks each peer for a key that both share.
func (p *Peers) newClient() *http.Client {
	dialer := &net.Dialer{Timeout: p.cfg.PeerTimeout}
	var transport http.RoundTripper = &http.Transport{
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			config := p.identity.config()
			config.ServerName = p.identity.inCommon(p.announced(address))
			secure := tls.Client(conn, config)
			if err := secure.HandshakeContext(ctx); err != nil {
				_ = conn.Close() // nothing was sent yet
				return nil, err
			}
			return secure, nil
		},
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     30 * time.Second,
	}
	if p.cfg.wrap != nil {
		transport = p.cfg.wrap(transport)
	}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// announced returns the key fingerprints announced by the peer at an address.
func (p *Peers) announced(address string) string {
	for _, o := range p.outboxes() {
		if peer := o.peerNow(); peer.Address == address {
			return peer.Fingerprint
		}
	}
	return ""
}

// ask sends one request. The caller closes the response's body.
func (p *Peers) ask(ctx context.Context, to Peer, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+to.Address+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set(fromHeader, encodePeer(p.Self()))
	return p.client.Do(req)
}

// refusal is the error for a response with an unexpected status.
func refusal(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 256)) // as much as there is
	return fmt.Errorf("status %d: %s", resp.StatusCode, strings.TrimSpace(string(text)))
}

// exchange sends one request and reads its short response.
func (p *Peers) exchange(ctx context.Context, to Peer, method, path string, body []byte, want int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.PeerTimeout)
	defer cancel()
	resp, err := p.ask(ctx, to, method, path, body)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != want {
		return nil, refusal(resp)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
}

// post sends a batch for the peer to apply.
func (p *Peers) post(ctx context.Context, to Peer, records []journal.Record) error {
	_, err := p.exchange(ctx, to, http.MethodPost, recordsPath, encodeBatch(records), http.StatusNoContent)
	return err
}

// hello checks that the peer is there and which gateway it is: another may have been started in its
// place.
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
		return errors.New("it is this gateway itself, at another address")
	}
	peer.Seen = o.peers.cfg.Now()
	o.peers.Learn([]Peer{peer})
	return nil
}

// pull merges a peer's records, batch by batch. The peer sends none if its digest equals held.
func (p *Peers) pull(ctx context.Context, from Peer, held string) error {
	resp, err := p.ask(ctx, from, http.MethodGet, recordsPath+"?digest="+held, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	for body := io.LimitReader(resp.Body, maxPull); ; {
		batch, err := readBatch(body)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read records: %w", err)
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

// writeBatch writes a batch, preceded by its length in 4 bytes.
func writeBatch(w io.Writer, batch []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(batch))), batch...))
	return err
}

// readBatch reads what writeBatch wrote; io.EOF means that there is no more.
func readBatch(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxBatch {
		return nil, journal.ErrEncoding
	}
	batch := make([]byte, n)
	if _, err := io.ReadFull(r, batch); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return batch, nil
}

// digest is a hash of the records that does not depend on their order.
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

func encodePeer(p Peer) string {
	b, err := json.Marshal(p)
	if err != nil {
		return "" // a time beyond the year 9999
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodePeer(s string) (p Peer, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(b, &p)
}
