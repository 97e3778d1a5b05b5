package demo

const v5 = "/api/v5"

// routes registers every endpoint. All of JewGo's paths stand under /api/v5,
// but those of its roots.
func (s *server) routes() {
	s.dataRoutes()
	s.authRoutes()
	s.probeRoutes()
}

func (s *server) on(pattern string, f func(*request) reply) { s.mux.HandleFunc(pattern, s.handle(f)) }

func (s *server) dataRoutes() {
	on := s.on
	for kind, c := range s.collections {
		base := v5 + "/" + kind
		on("GET "+base, listOf(c))
		on("POST "+base, allow("editor", createIn(c)))
		on("GET "+base+"/filter-options", optionsOf(c))
		on("GET "+base+"/{id}", detailOf(c))
		on("PUT "+base+"/{id}", allow("editor", updateIn(c)))
		on("DELETE "+base+"/{id}", allow("admin", removeFrom(c)))
		on("POST "+base+"/{id}/view", viewOf(c))
		for _, action := range []string{"share", "favorite", "unfavorite"} {
			on("POST "+base+"/{id}/"+action, actOn(c, action))
		}
	}

	on("GET "+v5+"/search", s.search)
	on("GET "+v5+"/search/{$}", s.search)
	on("GET "+v5+"/search/{type}", s.search)
	on("GET "+v5+"/search/suggest", s.suggest)
	on("GET "+v5+"/search/filters", s.searchFilters)
	on("GET "+v5+"/search/popular", popular)

	for _, base := range []string{v5 + "/reviews", v5 + "/reviews/{$}"} {
		on("GET "+base, s.listReviews)
		on("POST "+base, allow("user", s.createReview))
	}
	on("GET "+v5+"/reviews/{id}", s.review)
	on("PUT "+v5+"/reviews/{id}", allow("user", s.updateReview))
	on("DELETE "+v5+"/reviews/{id}", allow("user", s.removeReview))
	on("GET "+v5+"/reviews/{type}/{id}/stats", s.reviewStats)

	for _, base := range []string{v5 + "/specials", v5 + "/specials/{$}"} {
		on("GET "+base, s.listSpecials)
		on("POST "+base, allow("editor", s.createSpecial))
	}
	on("GET "+v5+"/specials/{id}", s.special)
	on("PATCH "+v5+"/specials/{id}", allow("editor", s.updateSpecial))
	on("POST "+v5+"/specials/{id}/claim", allow("user", s.claimSpecial))
	on("POST "+v5+"/specials/{id}/redeem", allow("editor", s.redeemSpecial))
}

func (s *server) authRoutes() {
	on := s.on
	on("POST "+v5+"/auth/login", s.login)
	on("POST "+v5+"/auth/register", s.register)
	on("POST "+v5+"/auth/guest", s.guest)
	on("POST "+v5+"/auth/refresh", s.refresh)
	on("POST "+v5+"/auth/logout", logout)
	on("POST "+v5+"/auth/change-password", allow("user", s.changePassword))
	on("GET "+v5+"/auth/csrf", s.csrf)
	on("GET "+v5+"/auth/profile", s.profile)
	on("GET "+v5+"/auth/me", s.profile)
	on("GET "+v5+"/auth/.well-known/jwks.json", jwks)
}

func (s *server) probeRoutes() {
	on := s.on
	on("GET "+v5+"/feature-flags", featureFlags)
	on("GET "+v5+"/feature-flags/{$}", featureFlags)
	on(v5+"/debug/{rest...}", debug)
	s.mux.HandleFunc(v5+"/echo", echo)
	s.mux.HandleFunc("GET "+v5+"/stream", stream)

	for _, base := range []string{"", v5} {
		on(base+"/admin/{rest...}", allow("admin", restricted))
		on(base+"/monitoring/{rest...}", allow("admin", restricted))
		s.mux.HandleFunc("POST "+base+"/webhook/{rest...}", webhook)
	}
	for _, path := range []string{"/healthz", "/readyz", "/health"} {
		on("GET "+path, healthy)
	}
	on("GET /__stats", s.stats)
	s.mux.HandleFunc("/socket.io/", echoSocket())
}

// allow runs f for users with a role: "user" is everyone but guests, an
// admin may do everything.
func allow(role string, f func(*request) reply) func(*request) reply {
	return func(r *request) reply {
		switch {
		case r.user == nil:
			return failure(401, "Authentication required")
		case !r.user.may(role):
			return failure(403, "Insufficient permissions")
		}
		return f(r)
	}
}
