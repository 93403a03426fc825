"""docs/sandbox.md, line by line: the sandbox does what it says of Stripe and Adyen."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import requests

from refundcli.sandbox.adyen.disputes import LIVES
from refundcli.sandbox.testing import RunningSandbox

DOCS = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[tuple[str, str, list[str]]]:
    """Path, body and methods of each line of a table."""
    section = DOCS.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return [(row[0].strip("`"), row[1].strip("`"), re.findall(r"\w+", row[-1])) for row in cells[2:]]


@pytest.mark.parametrize("heading", ["Stripe", "Adyen"])
def test_each_line_of_the_page_works(monkeypatch: pytest.MonkeyPatch, heading: str) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    report = ""
    with RunningSandbox(merchant_account="Shop") as sandbox:
        for path, body, methods in rows(heading):
            if "APPROVAL" in path:
                order = {"payment_intent": "pi_both", "amount": "100"}
                requests.post(f"{sandbox.url}/v1/refunds", order, auth=("sk_test_1", ""), timeout=10)
                path = path.replace("APPROVAL", sandbox.approvals[-1].id)
            url, sent = sandbox.url + path.replace("REFUND", report), body.replace('"REFUND"}', f'"{report}"}}')
            sent = sent.replace('"psp_reference": "REFUND"', f'"psp_reference": "{report}"')
            answer = requests.post(url, data=sent, timeout=10)
            assert answer.status_code == 200, (path, answer.text)
            report = answer.json()["id"] if path == "/_sandbox/refunds" else report
            for method in methods:
                assert hasattr(sandbox, method), method
            if "behaviour" in body and "approval" not in body:
                sandbox.clear_faults()
        waiting = [
            json.loads(delivery.body) for delivery in sandbox.deliveries("adyen" if heading == "Adyen" else "stripe")
        ]
    assert len(waiting) > 10


def test_the_page_names_every_life_of_a_dispute() -> None:
    assert [name for name in LIVES if f"`{name}`" not in " ".join(DOCS.split())] == []
