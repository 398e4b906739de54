"""ENVI's "map info": where a scene lies, as a transform and a coordinate reference system."""

import math
import re
from collections.abc import Sequence

from datamodules.file_facts import Georeference

Transform = tuple[float, float, float, float, float, float]


def parse_map_info(items: Sequence[str]) -> tuple[str | None, Transform | None]:
    """System and transform of ``{UTM, 1, 1, easting, northing, dx, dy, zone, North, WGS-84, ..}``.

    The reference pixel counts from 1 at the upper left corner of the first one; a rotation is in
    degrees, counter-clockwise. The system is an EPSG code for UTM and geographic coordinates on
    WGS-84, None for others, which headers name in their coordinate system string.
    """
    try:
        column, row, x, y, dx, dy = map(float, items[1:7])
    except ValueError:
        return None, None
    turn = next((m[1] for item in items if (m := re.match(r"rotation\s*=\s*(\S+)", item))), "0")
    angle = math.radians(float(turn))
    a, b = dx * math.cos(angle), dx * math.sin(angle)  # pixels are turned, then scaled, as in GDAL
    d, e = dy * math.sin(angle), -dy * math.cos(angle)
    column, row = column - 1, row - 1
    transform = (a, b, x - a * column - b * row, d, e, y - d * column - e * row)
    return _system(items), transform


def _system(items: Sequence[str]) -> str | None:
    words = [item.strip().lower() for item in items]
    if "wgs-84" not in words and "wgs84" not in words:
        return None
    if words[0].startswith("geographic"):
        return "EPSG:4326"
    if words[0] == "utm" and len(words) > 8 and words[7].isdigit():
        zone = int(words[7])
        return f"EPSG:{(32700 if words[8].startswith('south') else 32600) + zone}"
    return None


def map_info_of(place: Georeference) -> list[str]:
    """The items of a map info; the system is named by zone where it is UTM on WGS-84.

    None where the transform is more than a rotation and a scale, which it cannot say.
    """
    if place.transform is None:
        return []
    a, b, x, d, e, y = place.transform
    dx, dy = math.hypot(a, b), math.hypot(d, e)
    angle = math.degrees(math.atan2(b, a))
    if min(dx, dy) == 0 or abs(math.remainder(angle - math.degrees(math.atan2(d, -e)), 360)) > 1e-6:
        return []  # sheared or mirrored
    numbers = [f"{value:.15g}" for value in (1, 1, x, y, dx, dy)]
    utm = re.search(r'(?:EPSG:|"EPSG",\s*"?)32([67])(\d\d)"?\]*$', (place.crs or "").strip())
    if utm:
        half = "North" if utm[1] == "6" else "South"
        items = ["UTM", *numbers, str(int(utm[2])), half, "WGS-84", "units=Meters"]
    elif place.crs and re.search(r'(EPSG:4326|"4326"\]+)$', place.crs.strip()):
        items = ["Geographic Lat/Lon", *numbers, "WGS-84", "units=Degrees"]
    else:
        items = ["Arbitrary", *numbers]
    return [*items, f"rotation={angle:.12g}"] if angle else items
