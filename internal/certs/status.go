package certs

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"
)

// warnBefore is how long before its end a certificate is worth a warning, or a quarter of its lifetime if
// that is less.
const warnBefore = 14 * 24 * time.Hour

// Certificate is one that is in use.
type Certificate struct {
	Names    []string // host names and addresses that it is for
	Source   string   // its file, or the directory of its ACME server
	Missing  bool     // there is none yet
	NotAfter time.Time
	Ending   bool   // it expires soon, or has expired
	Problem  string // why there is no newer one; "": nothing is known to be wrong
}

// Certificates lists those in use.
func (k *Keeper) Certificates() (all []Certificate) {
	now := k.cfg.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.inUse.pairs {
		c := describe(p.certificate.Leaf, now)
		c.Source = p.files.paths[0]
		if p.problem != nil {
			c.Problem = p.problem.Error()
		}
		all = append(all, c)
	}
	if k.acme != nil {
		all = append(all, k.acme.describe(now)...)
	}
	return all
}

func describe(leaf *x509.Certificate, now time.Time) Certificate {
	c := Certificate{Names: leaf.DNSNames, NotAfter: leaf.NotAfter}
	for _, ip := range leaf.IPAddresses {
		c.Names = append(c.Names, ip.String())
	}
	if len(c.Names) == 0 {
		c.Names = []string{leaf.Subject.String()}
	}
	c.Ending = now.After(leaf.NotAfter.Add(-min(warnBefore, leaf.NotAfter.Sub(leaf.NotBefore)/4)))
	return c
}

// String describes it for people.
func (c Certificate) String() string {
	text := fmt.Sprintf("%s until %s", strings.Join(c.Names, ", "), c.NotAfter.UTC().Format(time.RFC3339))
	if c.Missing {
		text = c.Names[0] + ": none yet"
	}
	if c.Problem != "" {
		text += " (" + c.Problem + ")"
	}
	return text
}

// warn logs the certificates that expire soon, each once a day.
func (k *Keeper) warn() {
	today := k.cfg.Now().Unix() / (24 * 3600)
	for _, c := range k.Certificates() {
		key := c.Source + c.NotAfter.String()
		if !c.Ending || k.warned[key] == today {
			continue
		}
		if len(k.warned) > maxWarned {
			clear(k.warned)
		}
		k.warned[key] = today
		k.cfg.Log.Warn("a certificate expires", "names", strings.Join(c.Names, ", "), "not_after", c.NotAfter, "source", c.Source)
	}
}

// maxWarned bounds the certificates whose last warning is remembered.
const maxWarned = 1000
