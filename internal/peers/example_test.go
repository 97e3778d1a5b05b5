package peers_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jewgo/gateway/internal/journal"
	"github.com/jewgo/gateway/internal/peers"
)

// A logout is answered once it is in the journal and all reachable peers have it.
func Example() {
	if err := logout(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 1 records, journal ok, 0 peers behind
}

func logout() (err error) {
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	j, err := journal.Open(journal.Config{Dir: dir})
	if err != nil {
		return err // another process holds the folder, or another version wrote it
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	fleet, err := peers.New(peers.Config{
		Keys:     [][]byte{[]byte("from the keyring, at least 16 bytes")},
		Self:     func() peers.Peer { return peers.Peer{ID: "this run", Address: "10.0.0.1:9902"} },
		Apply:    func(ctx context.Context, records []journal.Record) error { return j.Append(ctx, records...) },
		Snapshot: j.Records,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fleet.Close()) }()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	revoked := journal.Record{Kind: "session", Key: "hash of its id", Version: 1, Expires: time.Now().Add(time.Hour)}
	if err := j.Append(ctx, revoked); err != nil {
		return err
	}
	_, failed := fleet.Send(ctx, []journal.Record{revoked})
	fmt.Printf("%d records, journal %v, %d peers behind\n", len(j.Records()), j.Status().State, len(failed))
	return nil
}
