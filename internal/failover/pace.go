package failover

import (
	"errors"
	"math/rand/v2"
	"time"
)

// jitter moves d by up to a quarter of unit either way, so that gateways which
// lost the store at one moment do not ask it at one moment.
func jitter(d, unit time.Duration) time.Duration {
	return d + unit*time.Duration(rand.IntN(51)-25)/100
}

// lossesUnheld is how many losses in a row are no reason to leave a store alone.
const lossesUnheld = 2

// holdLocked says how long a store that has just been given up is left alone. A
// store that lives shortly again and again, or that a consumer cannot rejoin, is
// left alone twice as long each time, up to MaxHold: each life costs requests
// some waiting and the store a replay. A store that only lost data is not left
// alone at all, unless it does so for the third time in a row: gateways that had
// already brought it everything would else come back after those that had not.
func (s *Switch) holdLocked(c Change, lasted time.Duration) {
	if c.From == Up && lasted >= s.cfg.StableAfter {
		s.strikes, s.lostInRow = 0, 0
	}
	s.strikes++
	hold := s.cfg.DownInterval
	for i := 1; i < s.strikes && hold < s.cfg.MaxHold; i++ {
		hold = min(2*hold, s.cfg.MaxHold)
	}
	hold = jitter(hold, s.cfg.DownInterval)
	if !errors.Is(c.Reason, ErrLost) {
		s.lostInRow = 0
	} else if s.lostInRow++; s.lostInRow <= lossesUnheld {
		hold = 0
	}
	s.held = s.entered.Add(hold)
}

// holdLeft is how long the store is still left alone.
func (s *Switch) holdLeft() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Until(s.held)
}

// untilLook is the time until the hold ends, or others are looked for.
func (s *Switch) untilLook() time.Duration {
	left := s.holdLeft()
	if s.cfg.Rejoining == nil {
		return left
	}
	return min(left, jitter(s.cfg.DownInterval, s.cfg.DownInterval))
}

// pause is the time to the next probe.
func (s *Switch) pause() time.Duration {
	w := s.load()
	switch {
	case w.state() == Up && s.missed == 0:
		return jitter(s.cfg.UpInterval, s.cfg.UpInterval)
	case w.state() == Down && w.generation() != s.tried:
		return s.untilLook()
	}
	return jitter(s.cfg.DownInterval, s.cfg.DownInterval)
}
