"""Whether a text encoder can be asked about the rows of a job."""

from __future__ import annotations

from kdaif.datasets.rows import InputSignature
from kdaif.errors import InvalidInputError
from kdaif.records import TransformerSignature, TransformerTeacher


def check_transformer(
    source: TransformerTeacher, model: TransformerSignature | None, rows: InputSignature, field: str
) -> None:
    """Fits the rows of the job to the encoder.

    Args:
        source: the longest text.
        model: what the archive says; None where that is not known.
        rows: of the job.
        field: where ``source`` stands in the request.

    Raises:
        InvalidInputError: the rows are no texts, or ``max_tokens`` is beyond what the encoder reads.
    """
    if rows.kind != "text":
        raise InvalidInputError.of(field, "the rows hold no text; a transformer reads a 'text' column")
    longest = None if model is None else model.longest_text
    if longest is not None and source.max_tokens > longest:
        raise InvalidInputError.of(
            f"{field}.max_tokens", f"is {source.max_tokens}, and the model reads at most {longest} word pieces"
        )
