"""The words and places that records are made of."""

# name, state, first digits of the ZIP code, telephone area, latitude and longitude
# in millionths of a degree, hours from UTC, time zone
CITIES = [
    ("Miami Beach", "FL", "331", "305", 25790654, -80130045, -5, "America/New_York"),
    ("Surfside", "FL", "331", "305", 25878426, -80125603, -5, "America/New_York"),
    ("Aventura", "FL", "331", "305", 25956481, -80139212, -5, "America/New_York"),
    ("Hollywood", "FL", "330", "954", 26011201, -80149490, -5, "America/New_York"),
    ("Boca Raton", "FL", "334", "561", 26368306, -80128932, -5, "America/New_York"),
    ("North Miami Beach", "FL", "331", "305", 25933149, -80162546, -5, "America/New_York"),
    ("Hallandale Beach", "FL", "330", "954", 25981201, -80148379, -5, "America/New_York"),
    ("Fort Lauderdale", "FL", "333", "954", 26122439, -80137317, -5, "America/New_York"),
    ("Brooklyn", "NY", "112", "718", 40678178, -73944158, -5, "America/New_York"),
    ("New York", "NY", "100", "212", 40712776, -74005974, -5, "America/New_York"),
    ("Great Neck", "NY", "110", "516", 40800659, -73728520, -5, "America/New_York"),
    ("Monsey", "NY", "109", "845", 41111207, -74068474, -5, "America/New_York"),
    ("Lakewood", "NJ", "087", "732", 40097900, -74217600, -5, "America/New_York"),
    ("Teaneck", "NJ", "076", "201", 40897600, -74015900, -5, "America/New_York"),
    ("Baltimore", "MD", "212", "410", 39290385, -76612189, -5, "America/New_York"),
    ("Chicago", "IL", "606", "773", 41878114, -87629798, -6, "America/Chicago"),
    ("Cleveland", "OH", "441", "216", 41499320, -81694361, -5, "America/New_York"),
    ("Los Angeles", "CA", "900", "310", 34052234, -118243685, -8, "America/Los_Angeles"),
    ("Atlanta", "GA", "303", "404", 33748995, -84387982, -5, "America/New_York"),
    ("Dallas", "TX", "752", "214", 32776664, -96796988, -6, "America/Chicago"),
]

AGENCIES = ["ORB", "OU", "Kosher Miami", "Star-K", "cRc", "OK", "Vaad Harabonim", "RCC"]

STREETS = [
    "Harding Avenue", "Collins Avenue", "41st Street", "Biscayne Boulevard", "Stirling Road", "Main Street",
    "Cedar Lane", "Ocean Parkway", "Kings Highway", "Pico Boulevard", "Reisterstown Road", "Devon Avenue",
    "Preston Road", "Clifton Avenue", "Route 59", "Middle Neck Road",
]

FIRST_NAMES = [
    "Miriam", "David", "Rachel", "Yosef", "Leah", "Ari", "Chana", "Moshe", "Esther", "Daniel", "Shira", "Eli",
    "Rivka", "Noam", "Tamar", "Jacob",
]

LAST_NAMES = [
    "Levin", "Katz", "Goldman", "Azoulay", "Friedman", "Mizrahi", "Rosen", "Cohen", "Stern", "Benaroya", "Weiss",
    "Adler", "Shapiro", "Toledano", "Kaplan", "Marcus",
]

PREFIXES = [
    "Jerusalem", "Olive", "Pomegranate", "Golden", "Harbor", "Cedar", "Sunrise", "Galil", "Seaside", "Corner",
    "Royal", "Negev", "Carmel", "Old City", "Palm", "Tiberias", "Copper", "Garden", "Jaffa", "Lemon", "Sabra", "Blue",
    "Date Palm", "Village", "Grand", "Little",
]

# by kosher category
KITCHENS = {
    "meat": ["Grill", "Steakhouse", "Shawarma", "Smokehouse", "Burger Bar", "Deli", "Schnitzel House", "Wok"],
    "dairy": ["Pizza", "Cafe", "Bagels", "Creamery", "Pasta Bar", "Bakery Cafe", "Brunch House", "Waffle Bar"],
    "pareve": ["Sushi", "Falafel", "Bakery", "Juice Bar", "Fish House", "Vegan Kitchen", "Salad Bar", "Patisserie"],
}

DISHES = {
    "meat": ["lamb shawarma", "rib steak", "pastrami sandwich", "chicken schnitzel", "smoked brisket", "beef kebab"],
    "dairy": ["wood-fired pizza", "shakshuka with feta", "cheese blintzes", "mushroom pasta", "halloumi salad", "cheesecake"],
    "pareve": ["falafel plate", "salmon rolls", "sesame bread", "green smoothie", "grilled branzino", "almond tart"],
}

FEATURES = [
    "Delivery", "Takeout", "Outdoor seating", "Catering", "Wheelchair accessible", "Private room", "Free parking",
    "Wi-Fi", "High chairs", "Online ordering",
]

OPENERS = [
    "From the first visit", "On a busy evening", "With a table by the window", "After a long drive",
    "For a family dinner", "Every time that we are in town", "On the day before the holiday", "At lunch with colleagues",
    "With small children", "For a birthday", "After the renovation", "On a quiet afternoon",
]

SUBJECTS = [
    "the service", "the kitchen", "the bread", "the staff at the counter", "the portion", "the seasonal menu",
    "the dining room", "the grilled fish", "the house salad", "the owner", "the dessert", "the tea",
]

PREDICATES = [
    "was better than we expected", "came quickly and hot", "made us feel welcome", "kept the promise of the menu",
    "was worth the price", "took a little longer than usual", "showed real care", "was generous and well seasoned",
    "stayed friendly in spite of the crowd", "has become our favorite", "was fresh and simple", "deserves another star",
]

TAILS = [
    "and we will come back", "so book a table ahead", "and parking was easy", "although the music was loud",
    "and the certificate hangs by the door", "with plenty left to take home", "and the children asked for more",
    "even shortly before closing", "and the terrace is lovely", "so we recommended it to friends",
    "and the bill was fair", "with a smile",
]

DENOMINATIONS = ["Orthodox", "Modern Orthodox", "Chabad", "Sephardic", "Conservative", "Young Israel"]

NUSACHS = ["Ashkenaz", "Sefard", "Edot HaMizrach", "Ari"]

SHUL_NAMES = [
    "Beth Israel", "Ohel Moshe", "Shaarei Tefillah", "Beth Jacob", "Ahavat Shalom", "Etz Chaim", "Torah Center",
    "Bnai Torah", "Kehillat Yaakov", "Shaare Ezra", "Tiferet", "Anshei Emet", "Netivot", "Magen David",
]

STORE_KINDS = ["Market", "Judaica", "Butcher", "Wine Cellar", "Books", "Grocery"]
