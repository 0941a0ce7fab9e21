import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kdaif_server.names import dataset_name, parse_name, parse_parent
from kdaif_server.services.paging import decode_token, encode_token, page_size

from kdaif.errors import InvalidInputError


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True), st.from_regex(r"[a-z0-9]{1,64}", fullmatch=True))
def test_names_parse_back(tenant: str, dataset_id: str) -> None:
    assert parse_name(dataset_name(tenant, dataset_id), "datasets") == (tenant, dataset_id)


@pytest.mark.parametrize(
    "name",
    ["", "datasets/a", "tenants/a/datasets/../b", "tenants/../datasets/b", "tenants/a/jobs/b", "tenants/a/datasets/b/"],
)
def test_what_is_no_name_is_refused_with_the_form(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"tenants/\{tenant\}/datasets"):
        parse_name(name, "datasets")


def test_a_parent_names_its_tenant() -> None:
    assert parse_parent("tenants/default") == "default"
    with pytest.raises(InvalidInputError, match="parent"):
        parse_parent("tenants/Default")


@given(st.text())
def test_tokens_come_back(cursor: str) -> None:
    assert decode_token(encode_token(cursor)) == cursor


@given(st.text(min_size=1))
def test_foreign_tokens_never_crash(token: str) -> None:
    with contextlib.suppress(InvalidInputError):
        assert isinstance(decode_token(token), str)


def test_page_sizes() -> None:
    assert page_size(0, default=100, most=1000) == 100
    assert page_size(5000, default=100, most=1000) == 1000
    with pytest.raises(InvalidInputError):
        page_size(-1, default=100, most=1000)
