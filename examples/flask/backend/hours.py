"""Opening hours."""

from datetime import timedelta

DAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
FRIDAY = 5


class Hours:
    """Opening hours in minutes after midnight; a day that closes at 0 is closed.

    Times are standard time all the year, which a demonstration may.
    """

    def __init__(self, opens, closes, utc):
        self.opens, self.closes, self.utc = opens, closes, utc

    @classmethod
    def make(cls, r, utc):
        opens, closes, friday = 600 + 30 * r.below(4), 1200 + 30 * r.below(8), 840 + 30 * r.below(3)
        return cls([opens] * 6 + [0], [closes] * 5 + [friday, 0], utc)

    def open(self, now):
        local = now + timedelta(hours=self.utc)
        minute, day = local.hour * 60 + local.minute, local.isoweekday() % 7
        return self.opens[day] <= minute < self.closes[day]

    def during(self, part):
        """Whether the place serves at a time of day on weekdays."""
        opens, closes = self.opens[1], self.closes[1]
        return {
            "morning": opens < 11 * 60,
            "afternoon": opens < 17 * 60 and closes > 12 * 60,
            "evening": closes > 18 * 60,
            "lateNight": closes >= 22 * 60,
        }.get(part, True)

    def json(self):
        return {
            day: {"open": clock(self.opens[i]), "close": clock(self.closes[i])} if self.closes[i] else None
            for i, day in enumerate(DAYS)
        }

    def text(self):
        return "Sunday-Thursday {}-{}; Friday {}-{}; Saturday closed".format(
            clock(self.opens[0]), clock(self.closes[0]), clock(self.opens[FRIDAY]), clock(self.closes[FRIDAY])
        )


NEVER = Hours([0] * 7, [0] * 7, 0)


def clock(minute):
    return "%02d:%02d" % divmod(minute, 60)
