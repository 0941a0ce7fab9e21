"""What the docstrings of the settings say is the default is the server's default."""

import re

import pytest
from kdaif_client import spec as client_spec

from kdaif.records import Checks, Export, Inputs, Scheduling, Splits, Training, Weighting
from kdaif.records.monitoring import Monitoring


@pytest.mark.parametrize("settings", [Training, Weighting, Splits, Inputs, Checks, Scheduling, Monitoring, Export])
def test_documented_defaults_are_the_server_s(
    settings: type[Training | Weighting | Splits | Inputs | Checks | Scheduling | Monitoring | Export],
) -> None:
    documented = dict(
        re.findall(
            r"^\s+(\w+): [^:]*?[Dd]efault ([\d.,]+)\.$", getattr(client_spec, settings.__name__).__doc__, re.MULTILINE
        )
    )
    numbers = {
        name: field.default
        for name, field in settings.model_fields.items()
        if isinstance(field.default, int | float) and not isinstance(field.default, bool)
    }
    assert set(documented) == set(numbers)
    for name, told in documented.items():
        assert float(told.replace(",", "")) == numbers[name], name


@pytest.mark.parametrize("settings", [Training, Weighting, Splits, Inputs, Checks, Scheduling, Monitoring, Export])
def test_documented_default_choices_and_switches_are_the_server_s(
    settings: type[Training | Weighting | Splits | Inputs | Checks | Scheduling | Monitoring | Export],
) -> None:
    text = getattr(client_spec, settings.__name__).__doc__
    choices = dict(re.findall(r'^\s+(\w+): .*?``"(\w+)"`` \(default\)', text, re.MULTILINE))
    switches = dict(re.findall(r"^\s+(\w+): .*?Default (true|false)\.$", text, re.MULTILINE))
    defaults = {name: field.default for name, field in settings.model_fields.items()}
    assert choices == {name: default for name, default in defaults.items() if isinstance(default, str)}
    assert switches == {name: str(default).lower() for name, default in defaults.items() if isinstance(default, bool)}
