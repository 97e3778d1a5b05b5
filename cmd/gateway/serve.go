package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/jewgo/gateway/internal/certs"
	"github.com/jewgo/gateway/internal/logwriter"
	"github.com/jewgo/gateway/internal/systemd"
	"github.com/jewgo/gateway/policy"
)

// service is one gateway process: its policy, its addresses and its output.
type service struct {
	load   func() (*policy.Snapshot, error)
	file   string // watched for changes; "": none
	listen string // overrides server.listen; "": no override
	admin  string // overrides server.admin
	stdout io.Writer
	stderr io.Writer
	https  bool                              // with a certificate for localhost
	banner func(w io.Writer, a announcement) // nil: a log line instead
	queues []*logwriter.Writer               // in front of stdout and stderr while it runs
}

// Bytes that wait to be written at most, and how long the end of the process waits for
// them. The access log has a queue of its own, so it cannot crowd out errors.
const (
	accessQueue = 1 << 20
	errorQueue  = 256 << 10
	flushWait   = 2 * time.Second
)

// queueLogs puts queues in front of stdout and stderr until flush is called, so that no
// request waits for the reader of the logs.
func (s *service) queueLogs() (flush func()) {
	stdout, stderr := s.stdout, s.stderr
	access, errors := logwriter.New(stdout, accessQueue), logwriter.New(stderr, errorQueue)
	s.stdout, s.stderr, s.queues = access, errors, []*logwriter.Writer{access, errors}
	return func() {
		access.Close(flushWait)
		errors.Close(flushWait)
		s.stdout, s.stderr = stdout, stderr
	}
}

// droppedLines is how many log lines were dropped so far.
func (s *service) droppedLines() (n float64) {
	for _, q := range s.queues {
		n += float64(q.Dropped())
	}
	return n
}

// announcement is where a gateway is reached.
type announcement struct {
	urls             []string // for clients; at least one
	admin, tokenFile string
	caFile           string // that clients must trust; "": none
}

// loadOverridden is load with the command line's overrides.
func (s *service) loadOverridden() (*policy.Snapshot, error) {
	snapshot, err := s.load()
	if err != nil {
		return nil, err
	}
	if s.listen != "" {
		snapshot.Policy.Server.Listen = policy.StringList{s.listen}
	}
	if s.admin != "" {
		snapshot.Policy.Server.Admin = s.admin
	}
	if s.https {
		if snapshot.Policy.Server.TLS != nil || snapshot.Policy.Server.H2C {
			return nil, usage(errors.New("--https: the policy has server.tls already, or h2c"))
		}
		def, err := certs.Localhost(snapshot.Policy.Server.DataDir, time.Now())
		if err != nil {
			return nil, err
		}
		snapshot.Policy.Server.TLS = &policy.TLS{Certificates: []policy.CertificateDef{def}, MinVersion: tls.VersionTLS12}
	}
	return snapshot, nil
}

// run serves until TERM or INT arrives, and returns after drain.
func (s *service) run(ctx context.Context) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	pipe := make(chan os.Signal, 1) // never read: when a log's reader is gone, the write fails and the process lives on
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)

	snapshot, err := s.loadOverridden()
	if err != nil {
		return err
	}
	defer s.queueLogs()()
	log := slog.New(slog.NewJSONHandler(s.stderr, nil))
	g, err := newGateway(ctx, snapshot, s, log)
	if err != nil {
		return err
	}
	defer g.close()
	servers, err := g.open(snapshot.Policy)
	if err != nil {
		return err
	}
	defer servers.close()
	s.announce(log, servers, &snapshot.Policy.Server)

	background, stop := context.WithCancel(ctx)
	defer stop()
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stop()
	if s.file != "" {
		tasks.Go(func() { g.reloader.Run(background, hup, s.file) })
	}
	tasks.Go(func() { g.warmer.watch(background) })
	// conditions asks every part, so one that is stuck is not said to be alive.
	tasks.Go(func() { systemd.Watch(background, func() { g.conditions() }) })
	systemd.Ready(g.summary())
	select {
	case err := <-servers.failed:
		return err
	case sig := <-signals:
		log.Info("stopping", "signal", sig.String())
	case <-ctx.Done():
	}
	g.drain(servers, signals)
	return nil
}

// announce says where the gateway is reached.
func (s *service) announce(log *slog.Logger, servers *servers, server *policy.Server) {
	a := announcement{tokenFile: tokenFile(server)}
	for _, l := range servers.data.listeners {
		a.urls = append(a.urls, shownURL(servers.scheme, l))
	}
	for _, l := range servers.admin.listeners {
		a.admin = shownURL("http", l)
	}
	if s.https {
		a.caFile = server.TLS.Certificates[0].CertFile
	}
	if s.banner != nil {
		s.banner(s.stdout, a)
		return
	}
	attrs := []any{"version", versionText(), "url", a.urls[0], "admin", a.admin}
	if len(a.urls) > 1 {
		attrs = append(attrs, "urls", a.urls)
	}
	if a.caFile != "" {
		attrs = append(attrs, "curl", "curl --cacert "+a.caFile+" "+a.urls[0]+"/")
	}
	log.Info("serving", attrs...)
}
