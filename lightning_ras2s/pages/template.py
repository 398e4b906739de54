"""What the web pages share: templates that escape all that they are given, and how values read."""

import math
import re
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from lightning_ras2s.evaluation import HEADERS
from lightning_ras2s.pages.result_tables import number

_PART = r"[^\s'\"=,;:<>(){}\[\]/\\|]+"
PATH = re.compile(
    rf"(?<![\w.:/~%\\-])(?:file://)?(?:~|\.\.)?(?:/{_PART})+/({_PART})?"  # of at least two names
    rf"|(?<![\w])[A-Za-z]:\\(?:{_PART}\\)*({_PART})?"
)
SECRET = re.compile(
    r"(?i)([\w-]*(?:api_?key|token|secret|password)[\w-]*)([\"']?\s*[=:]\s*[\"']?)[^\s\"',]{6,}"
)

if TYPE_CHECKING:
    from jinja2 import Environment, Template


def render(template: str, **values: Any) -> str:
    """Fills in one of the templates; names, configs and records are foreign text to it."""
    return find_template(template).render(**values)


def find_template(name: str) -> "Template":
    """One of the templates."""
    return _environment().get_template(name)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lightning_ras2s.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # orders are meant
    environment.filters |= {
        "duration": duration,
        "moment": moment,
        "words": words,
        "digits": digits,
        "placeless": placeless,
    }
    environment.globals |= {"number": number, "HEADERS": HEADERS}
    return environment


def duration(seconds: float | None) -> str:
    """42 s, 3 min 5 s, 2 h 7 min or 3 d 4 h."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def digits(value: float) -> str:
    """Three of them: 0.00123, 12.3, 12345; a dash for what is not a number."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"


def moment(time: datetime | None) -> str:
    """2026-11-22 17:26."""
    return time.strftime("%Y-%m-%d %H:%M") if time else ""


def placeless(text: Any) -> str:
    """Without what is of this machine and user alone: folders, and values of keys.

    A path keeps its last name, behind ``.../``.
    """
    said = PATH.sub(lambda found: f".../{found[1] or found[2] or ''}", str(text))
    return SECRET.sub(r"\1\2***", said)


def words(key: Any) -> str:
    """A key as words: ``train_scenes`` is train scenes."""
    return str(key).replace("_", " ")
