"""Cities and airports that the scripted travel API knows, and how far they are from each other."""

import unicodedata
from dataclasses import dataclass
from math import asin, cos, radians, sin, sqrt

_TABLE = """
SAO|Sao Paulo|Brazil|BR|-23.55|-46.63|-03:00|GRU Guarulhos International;CGH Congonhas;VCP Viracopos International
RIO|Rio de Janeiro|Brazil|BR|-22.91|-43.17|-03:00|GIG Galeao International;SDU Santos Dumont
BHZ|Belo Horizonte|Brazil|BR|-19.92|-43.94|-03:00|CNF Confins International;PLU Pampulha
BSB|Brasilia|Brazil|BR|-15.87|-47.92|-03:00|BSB Presidente Juscelino Kubitschek
SSA|Salvador|Brazil|BR|-12.91|-38.33|-03:00|SSA Deputado Luis Eduardo Magalhaes
REC|Recife|Brazil|BR|-8.13|-34.92|-03:00|REC Guararapes International
FOR|Fortaleza|Brazil|BR|-3.78|-38.53|-03:00|FOR Pinto Martins International
NAT|Natal|Brazil|BR|-5.77|-35.38|-03:00|NAT Sao Goncalo do Amarante
MCZ|Maceio|Brazil|BR|-9.51|-35.79|-03:00|MCZ Zumbi dos Palmares
JPA|Joao Pessoa|Brazil|BR|-7.15|-34.95|-03:00|JPA Presidente Castro Pinto
AJU|Aracaju|Brazil|BR|-10.98|-37.07|-03:00|AJU Santa Maria
BPS|Porto Seguro|Brazil|BR|-16.44|-39.08|-03:00|BPS Porto Seguro
SLZ|Sao Luis|Brazil|BR|-2.59|-44.23|-03:00|SLZ Marechal Cunha Machado
BEL|Belem|Brazil|BR|-1.38|-48.48|-03:00|BEL Val de Cans International
MAO|Manaus|Brazil|BR|-3.04|-60.05|-04:00|MAO Eduardo Gomes International
CWB|Curitiba|Brazil|BR|-25.53|-49.18|-03:00|CWB Afonso Pena International
FLN|Florianopolis|Brazil|BR|-27.67|-48.55|-03:00|FLN Hercilio Luz International
POA|Porto Alegre|Brazil|BR|-29.99|-51.17|-03:00|POA Salgado Filho International
IGU|Foz do Iguacu|Brazil|BR|-25.6|-54.49|-03:00|IGU Cataratas International
GYN|Goiania|Brazil|BR|-16.63|-49.22|-03:00|GYN Santa Genoveva
CGB|Cuiaba|Brazil|BR|-15.65|-56.12|-04:00|CGB Marechal Rondon
CGR|Campo Grande|Brazil|BR|-20.47|-54.67|-04:00|CGR Campo Grande International
VIX|Vitoria|Brazil|BR|-20.26|-40.29|-03:00|VIX Eurico de Aguiar Salles
FEN|Fernando de Noronha|Brazil|BR|-3.85|-32.42|-02:00|FEN Governador Carlos Wilson
BUE|Buenos Aires|Argentina|AR|-34.6|-58.38|-03:00|EZE Ministro Pistarini;AEP Aeroparque Jorge Newbery
BRC|San Carlos de Bariloche|Argentina|AR|-41.15|-71.16|-03:00|BRC Teniente Luis Candelaria
MVD|Montevideo|Uruguay|UY|-34.84|-56.03|-03:00|MVD Carrasco International
SCL|Santiago|Chile|CL|-33.39|-70.79|-03:00|SCL Arturo Merino Benitez
LIM|Lima|Peru|PE|-12.02|-77.11|-05:00|LIM Jorge Chavez International
CUZ|Cusco|Peru|PE|-13.54|-71.94|-05:00|CUZ Alejandro Velasco Astete
BOG|Bogota|Colombia|CO|4.7|-74.15|-05:00|BOG El Dorado International
CTG|Cartagena|Colombia|CO|10.44|-75.51|-05:00|CTG Rafael Nunez International
CUN|Cancun|Mexico|MX|21.04|-86.87|-05:00|CUN Cancun International
MEX|Mexico City|Mexico|MX|19.44|-99.07|-06:00|MEX Benito Juarez International;NLU Felipe Angeles
PUJ|Punta Cana|Dominican Republic|DO|18.57|-68.36|-04:00|PUJ Punta Cana International
MIA|Miami|United States of America|US|25.79|-80.29|-05:00|MIA Miami International
ORL|Orlando|United States of America|US|28.43|-81.31|-05:00|MCO Orlando International
NYC|New York|United States of America|US|40.71|-74.01|-05:00|JFK John F Kennedy International;LGA LaGuardia;EWR Newark Liberty
LAX|Los Angeles|United States of America|US|33.94|-118.41|-08:00|LAX Los Angeles International
SFO|San Francisco|United States of America|US|37.62|-122.38|-08:00|SFO San Francisco International
LAS|Las Vegas|United States of America|US|36.08|-115.15|-08:00|LAS Harry Reid International
YTO|Toronto|Canada|CA|43.68|-79.63|-05:00|YYZ Lester B Pearson International;YTZ Billy Bishop
LIS|Lisbon|Portugal|PT|38.77|-9.13|+00:00|LIS Humberto Delgado
OPO|Porto|Portugal|PT|41.24|-8.68|+00:00|OPO Francisco Sa Carneiro
MAD|Madrid|Spain|ES|40.49|-3.57|+01:00|MAD Adolfo Suarez Barajas
BCN|Barcelona|Spain|ES|41.3|2.08|+01:00|BCN El Prat
PAR|Paris|France|FR|48.85|2.35|+01:00|CDG Charles de Gaulle;ORY Orly
LON|London|United Kingdom|GB|51.51|-0.13|+00:00|LHR Heathrow;LGW Gatwick;STN Stansted
ROM|Rome|Italy|IT|41.9|12.5|+01:00|FCO Leonardo da Vinci Fiumicino;CIA Ciampino
MIL|Milan|Italy|IT|45.46|9.19|+01:00|MXP Malpensa;LIN Linate
AMS|Amsterdam|Netherlands|NL|52.31|4.76|+01:00|AMS Schiphol
BER|Berlin|Germany|DE|52.36|13.5|+01:00|BER Brandenburg
FRA|Frankfurt|Germany|DE|50.03|8.57|+01:00|FRA Frankfurt International
ZRH|Zurich|Switzerland|CH|47.46|8.55|+01:00|ZRH Zurich
ATH|Athens|Greece|GR|37.94|23.95|+02:00|ATH Eleftherios Venizelos
IST|Istanbul|Turkiye|TR|41.26|28.74|+03:00|IST Istanbul;SAW Sabiha Gokcen
CAI|Cairo|Egypt|EG|30.11|31.4|+02:00|CAI Cairo International
CPT|Cape Town|South Africa|ZA|-33.97|18.6|+02:00|CPT Cape Town International
DXB|Dubai|United Arab Emirates|AE|25.25|55.36|+04:00|DXB Dubai International;DWC Al Maktoum International
TYO|Tokyo|Japan|JP|35.68|139.69|+09:00|HND Haneda;NRT Narita International
BKK|Bangkok|Thailand|TH|13.69|100.75|+07:00|BKK Suvarnabhumi;DMK Don Mueang
SYD|Sydney|Australia|AU|-33.95|151.18|+11:00|SYD Kingsford Smith
"""


@dataclass(frozen=True)
class City:
    """A city with its airports (IATA code to name). `offset` is that of its time zone; degrees for the place."""

    code: str
    name: str
    country: str
    country_code: str
    latitude: float
    longitude: float
    offset: str
    airports: dict[str, str]


def _city(line: str) -> City:
    code, name, country, country_code, latitude, longitude, offset, airports = line.split("|")
    named = dict(airport.split(" ", 1) for airport in airports.split(";"))
    return City(code, name, country, country_code, float(latitude), float(longitude), offset, named)


CITIES = tuple(_city(line) for line in _TABLE.strip().splitlines())
BY_CODE = {code: city for city in CITIES for code in (*city.airports, city.code)}
"""The city of every code, an airport's or its own."""


def folded(text: str) -> str:
    """Write a text in capitals and without accents, as the table of names is searched."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).upper().strip()


def kilometres(one: City, other: City) -> float:
    """Measure the distance on the globe."""
    north, south = radians(one.latitude), radians(other.latitude)
    east = radians(other.longitude - one.longitude)
    half = sin((south - north) / 2) ** 2 + cos(north) * cos(south) * sin(east / 2) ** 2
    return 2 * 6371 * asin(sqrt(half))
