"""beartype with Python's numeric tower: an int may stand where a float is expected, as everywhere else in the language."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
