package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jewgo/gateway/internal/logwriter"
	"github.com/jewgo/gateway/internal/wire"
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
	banner func(w io.Writer, base, admin, tokenFile string) // nil: a log line instead
	queues []*logwriter.Writer                              // in front of stdout and stderr while it runs
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

// loadOverridden is load with the command line's overrides.
func (s *service) loadOverridden() (*policy.Snapshot, error) {
	snapshot, err := s.load()
	if err != nil {
		return nil, err
	}
	if s.listen != "" {
		snapshot.Policy.Server.Listen = s.listen
	}
	if s.admin != "" {
		snapshot.Policy.Server.Admin = s.admin
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
	s.announce(log, servers, tokenFile(&snapshot.Policy.Server))

	background, stop := context.WithCancel(ctx)
	defer stop()
	var reloading sync.WaitGroup
	defer reloading.Wait()
	defer stop()
	if s.file != "" {
		reloading.Go(func() { g.reloader.Run(background, hup, s.file) })
	}
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

func (s *service) announce(log *slog.Logger, servers *servers, tokenFile string) {
	admin := ""
	if servers.adminListener != nil {
		admin = shownURL(servers.adminListener)
	}
	if s.banner != nil {
		s.banner(s.stdout, shownURL(servers.dataListener), admin, tokenFile)
		return
	}
	log.Info("serving", "version", versionText(), "url", shownURL(servers.dataListener), "admin", admin)
}

// servers are the gateway's listeners and what serves them.
type servers struct {
	data, admin                 *http.Server
	dataListener, adminListener net.Listener // adminListener is nil without one
	failed                      chan error   // of a listener
	deaf                        atomic.Bool  // dataListener was closed on purpose
}

// open listens and serves. The admin listener comes first: once clients are served,
// health checks are answered too.
func (g *gateway) open(p *policy.Policy) (*servers, error) {
	s := &servers{failed: make(chan error, 2)}
	quiet := slog.NewLogLogger(g.log.Handler(), slog.LevelDebug)
	var err error
	if p.Server.Admin != "" {
		if s.adminListener, err = listenAdmin(p.Server.Admin); err != nil {
			return nil, err
		}
		s.admin = &http.Server{Handler: g.admin, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, ErrorLog: quiet}
	}
	if s.dataListener, g.observer.TrustSocket, err = listenData(&p.Server); err != nil {
		s.close()
		return nil, err
	}
	s.dataListener = wire.Listener{Listener: s.dataListener}
	if strings.HasPrefix(p.Server.Listen, "unix:") && !g.observer.TrustSocket {
		g.log.Warn("every user may connect to the socket, so forwarded client addresses are not trusted: all requests count as one client", "listen", p.Server.Listen, "socket_mode", p.Server.SocketMode)
	}
	var fresh newConns
	s.data = &http.Server{
		Handler:           g.lastOnes(g.handler),
		ReadHeaderTimeout: p.Server.Timeouts.ReadHeader.Std(),
		IdleTimeout:       p.Server.Timeouts.Idle.Std(),
		MaxHeaderBytes:    int(p.Server.MaxHeader),
		ConnState:         fresh.track,
		ErrorLog:          quiet, // mistakes of clients are not worth a log line
	}
	s.data.RegisterOnShutdown(fresh.close)
	if s.admin != nil {
		go s.serve(s.admin, s.adminListener)
	}
	go s.serve(s.data, s.dataListener)
	return s, nil
}

// serve ends when its server, or its listener, is closed.
func (s *servers) serve(server *http.Server, l net.Listener) {
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) && !s.deaf.Load() {
		s.failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
}

// close ends both servers at once.
func (s *servers) close() {
	for _, server := range []*http.Server{s.data, s.admin} {
		if server != nil {
			_ = server.Close() // its listeners are all that can fail to close
		}
	}
	for _, l := range []net.Listener{s.dataListener, s.adminListener} {
		if l != nil {
			_ = l.Close() // as above
		}
	}
}
