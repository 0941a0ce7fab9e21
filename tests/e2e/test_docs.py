"""What the docs say runs, runs as it stands but for the address."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.conftest import Stack

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "says"),
    [("quickstart", "accuracy 0.9"), ("noisy-labels", "wrong among the 100 suspects: "), ("sdk", "nosuchjob")],
)
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_code_of_a_page_runs(
    stack: Stack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    page: str,
    says: str,
) -> None:
    text = (DOCS / f"{page}.md").read_text().replace("localhost:50051", stack.target)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(code, f"{page}.md", "exec"), names)  # noqa: S102
    output = capsys.readouterr().out
    assert says in output
    if page == "noisy-labels":
        # 45 of 100 would be chance.
        assert int(output.rpartition(says)[2]) >= 80
        assert "Weighting helped" in output
    if client := names.get("kdaif"):
        client.close()  # type: ignore[attr-defined]
