"""Keep what the ledger says now as that of a release, for the page that tells what has changed since.

    make released
"""

import json
from pathlib import Path

import nbformat
from extensions.execution import recorded_claims

import kdlib

BOOK = Path(__file__).parent


def claims():
    """Verdict and criterion of every claim, by the outputs that the notebooks are stored with."""
    found = {}
    for path in sorted(BOOK.glob("*.ipynb")):
        found |= recorded_claims(nbformat.read(path, as_version=4))
    in_order = sorted(found, key=lambda claim: [int(part) for part in claim.split(".")])
    return {claim: {key: found[claim][key] for key in ("verdict", "criterion")} for claim in in_order}


if __name__ == "__main__":
    record = {"version": kdlib.__version__, "claims": claims()}
    (BOOK / "released.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"Kept {len(record['claims'])} claims of version {record['version']} in book/released.json")
