package failover

import (
	"errors"
	"math/rand/v2"
	"time"
)

// jitter moves d by up to a quarter of unit either way, so that gateways that lost the store at the
// same moment do not all retry at the same moment.
func jitter(d, unit time.Duration) time.Duration {
	return d + unit*time.Duration(rand.IntN(51)-25)/100
}

// lossesUnheld is how many losses in a row cause no hold.
const lossesUnheld = 2

// holdLocked sets how long a store that has just been given up is left alone. If the store keeps
// flapping, or a consumer cannot rejoin, the hold doubles each time, up to MaxHold, since every
// return makes requests wait and costs the store a replay. A mere loss of data causes no hold until
// the third in a row; otherwise gateways that had already replayed everything would come back after
// those that had not.
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

// holdLeft is how much of the hold remains.
func (s *Switch) holdLeft() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Until(s.held)
}

// untilLook is the time until the hold ends or the next check for rejoining gateways.
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
