package peers

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Gateways sign what they say to each other with HMAC-SHA256 under a key that
// they share. A request carries
//
//	Gateway-Peer: <milliseconds since 1970> <nonce> <SHA-256 of the body> <MAC>
//	Gateway-Peer-From: <who asks: a Peer in JSON, base64url>
//
// with the MAC over method, path and query, sender, time, nonce and the body's
// hash, so that it is checked before any body is read. Answers are signed too,
// over the request's nonce, or else whoever takes a gateway's address could
// revoke sessions, or confirm what nobody has. It is no encryption.
//
// While the key is replaced gateways know two. Requests are signed with the
// first and taken with any; an answer is signed with its request's.
const (
	signHeader = "Gateway-Peer"
	fromHeader = "Gateway-Peer-From"
)

// window is how far two gateways' clocks may be apart.
const window = 30 * time.Second

// Why a request is refused.
var (
	errUnsigned  = errors.New("not signed")
	errStale     = errors.New("signed more than 30 s ago or ahead: clocks differ, or it is old")
	errSignature = errors.New("signed with another key, or changed")
	errReplayed  = errors.New("seen before")
	errBusy      = errors.New("too many requests")
)

type signer struct {
	keys [][]byte
	now  func() time.Time
}

// key signs with one of the keys that gateways share.
type key []byte

// mac signs parts under a label, which keeps what is signed for one purpose
// from being taken for another. Lengths keep the parts apart.
func (k key) mac(label string, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, k)
	for _, p := range append([][]byte{[]byte(label)}, parts...) {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		_, _ = h.Write(p) // a hash takes everything
	}
	return h.Sum(nil)
}

// signature is a parsed Gateway-Peer header.
type signature struct {
	at    int64
	nonce [16]byte
	body  [sha256.Size]byte
	mac   [sha256.Size]byte
}

func (k key) ofRequest(r *http.Request, sig signature) []byte {
	return k.mac("request", []byte(r.Method), []byte(r.URL.RequestURI()), []byte(r.Header.Get(fromHeader)),
		binary.BigEndian.AppendUint64(nil, uint64(sig.at)), sig.nonce[:], sig.body[:])
}

// question is what an answer belongs to: the key and the nonce of a request.
type question struct {
	key   key
	nonce []byte
}

// sign signs a request with that body.
func (s signer) sign(r *http.Request, body []byte) question {
	k := key(s.keys[0])
	sig := signature{at: s.now().UnixMilli(), body: sha256.Sum256(body)}
	_, _ = rand.Read(sig.nonce[:]) // never fails
	r.Header.Set(signHeader, strings.Join([]string{
		strconv.FormatInt(sig.at, 10), hex.EncodeToString(sig.nonce[:]), hex.EncodeToString(sig.body[:]), hex.EncodeToString(k.ofRequest(r, sig)),
	}, " "))
	return question{k, sig.nonce[:]}
}

// verify checks a request, but for its body and whether it is a replay, and
// tells which key it was signed with.
func (s signer) verify(r *http.Request) (sig signature, by key, err error) {
	fields := strings.Split(r.Header.Get(signHeader), " ")
	if len(fields) != 4 {
		return sig, nil, errUnsigned
	}
	at, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil || !unhex(sig.nonce[:], fields[1]) || !unhex(sig.body[:], fields[2]) || !unhex(sig.mac[:], fields[3]) {
		return sig, nil, errUnsigned
	}
	sig.at = at
	signed := slices.IndexFunc(s.keys, func(k []byte) bool { return hmac.Equal(sig.mac[:], key(k).ofRequest(r, sig)) })
	if signed < 0 {
		return sig, nil, errSignature
	}
	if s.now().Sub(time.UnixMilli(at)).Abs() > window {
		return sig, nil, errStale
	}
	return sig, s.keys[signed], nil
}

func unhex(to []byte, from string) bool {
	if len(from) != hex.EncodedLen(len(to)) {
		return false
	}
	_, err := hex.Decode(to, []byte(from))
	return err == nil
}

// answer signs a whole answer.
func (q question) answer(status int, body []byte) string {
	return hex.EncodeToString(q.key.mac("answer", q.nonce, []byte(strconv.Itoa(status)), body))
}

func (q question) answered(resp *http.Response, body []byte) bool {
	want := q.answer(resp.StatusCode, body)
	return hmac.Equal([]byte(resp.Header.Get(signHeader)), []byte(want))
}

// chunk signs one piece of a streamed answer. Its index in the stream is signed
// with it; the last piece is empty, so that a cut stream does not look whole.
func (q question) chunk(index uint64, body []byte) []byte {
	return q.key.mac("chunk", q.nonce, binary.BigEndian.AppendUint64(nil, index), body)
}

func encodePeer(p Peer) string {
	b, err := json.Marshal(p)
	if err != nil {
		return "" // a time beyond the year 9999
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodePeer(s string) (Peer, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return Peer{}, err
	}
	var p Peer
	err = json.NewDecoder(bytes.NewReader(b)).Decode(&p)
	return p, err
}

// replays knows the nonces of the last 60 to 120 s; after 60 no clock within the
// window lets a request through any more. Only holders of the key can fill it.
type replays struct {
	limit int

	mu sync.Mutex // guards what follows
	// Nonces go into current; every 60 s it becomes previous.
	current, previous map[[16]byte]struct{}
	turned            time.Time
}

// maxReplays bounds the nonces of 60 s: some 4,000 requests a second.
const maxReplays = 1 << 18

// first says whether a nonce is new, as nil. When there are too many it lets
// none through rather than forget one.
func (n *replays) first(nonce [16]byte, now time.Time) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now.Sub(n.turned).Abs() >= 2*window {
		if now.Sub(n.turned).Abs() >= 4*window {
			n.current = nil
		}
		n.previous, n.current, n.turned = n.current, map[[16]byte]struct{}{}, now
	}
	_, old := n.previous[nonce]
	if _, known := n.current[nonce]; known || old {
		return errReplayed
	}
	if len(n.current) >= n.limit {
		return errBusy
	}
	n.current[nonce] = struct{}{}
	return nil
}
