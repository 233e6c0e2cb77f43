"""Every relative link in the documents leads to a file, and to a heading where it names one."""

import re
from pathlib import Path

_LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def _anchor(heading: str) -> str:
    """The name that a heading can be linked by: lower case, without punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _broken(root: Path, document: Path) -> list[str]:
    broken = []
    for link in _LINK.findall(_CODE.sub("", (root / document).read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (root / document).parent / name if name else root / document
        anchors = {_anchor(text) for text in _HEADING.findall(target.read_text())} if target.suffix == ".md" else None
        if not target.exists() or (anchor and anchors is not None and anchor not in anchors):
            broken.append(f"{document}: {link}")
    return broken


def test_every_relative_link_in_a_document_leads_somewhere(root: Path, files: list[Path]) -> None:
    documents = [path for path in files if path.suffix == ".md"]
    assert documents
    assert [link for document in documents for link in _broken(root, document)] == []
