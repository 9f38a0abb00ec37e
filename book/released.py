"""Keep what the ledger says now as that of a release, for the page that tells what has changed since.

    make released
"""

import json
from pathlib import Path

import nbformat

import kdlib
from kdlib.claims import MIME

BOOK = Path(__file__).parent


def claims():
    """Verdict and criterion of every claim, by the outputs that the notebooks are stored with."""
    found = {}
    for path in sorted(BOOK.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                for record in output.get("data", {}).get(MIME, []):
                    found[record["claim"]] = {key: record[key] for key in ("verdict", "criterion")}
    return dict(sorted(found.items(), key=lambda each: [int(part) for part in each[0].split(".")]))


if __name__ == "__main__":
    record = {"version": kdlib.__version__, "claims": claims()}
    (BOOK / "released.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"Kept {len(record['claims'])} claims of version {record['version']} in book/released.json")
