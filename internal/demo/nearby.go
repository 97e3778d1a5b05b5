package demo

import (
	"math"
	"net/url"
	"strconv"
	"strings"
)

const kmPerMile = 1.609344

// nearby are the conditions on a record's place: radius is in kilometres, the
// distances in miles, bounds are south,west,north,east in degrees.
func nearby(q url.Values) []predicate {
	var all []predicate
	if from, ok := location(q); ok {
		for parameter, km := range map[string]float64{
			"radius": 1, "maxDistanceMi": kmPerMile, "maxDistance": kmPerMile, "distanceMi": kmPerMile,
		} {
			if most, ok := float(q, parameter); ok {
				all = append(all, func(p *record) bool { return from.km(p) <= most*km })
			}
		}
	}
	if corners := strings.Split(q.Get("bounds"), ","); len(corners) == 4 {
		var b [4]float64
		for i, corner := range corners {
			v, err := strconv.ParseFloat(corner, 64)
			if err != nil {
				return all
			}
			b[i] = v
		}
		all = append(all, func(p *record) bool {
			lat, lng := p.number("latitude"), p.number("longitude")
			return b[0] <= lat && lat <= b[2] && b[1] <= lng && lng <= b[3]
		})
	}
	return all
}

// point is a latitude and a longitude in degrees.
type point struct{ lat, lng float64 }

func location(q url.Values) (point, bool) {
	lat, ok := float(q, "latitude")
	lng, ok2 := float(q, "longitude")
	return point{lat, lng}, ok && ok2
}

// km is the great-circle distance to p by the haversine formula.
func (a point) km(p *record) float64 {
	rad := math.Pi / 180
	lat, lng := p.number("latitude"), p.number("longitude")
	sinLat, sinLng := math.Sin((lat-a.lat)*rad/2), math.Sin((lng-a.lng)*rad/2)
	h := sinLat*sinLat + math.Cos(a.lat*rad)*math.Cos(lat*rad)*sinLng*sinLng
	return 2 * 6371 * math.Asin(math.Sqrt(math.Min(h, 1)))
}

// miles is the distance as rows show it, with two decimals.
func (a point) miles(p *record) float64 { return math.Floor(a.km(p)/kmPerMile*100+0.5) / 100 }
