"""How numbers, names and pictures are written for people, on the report and on the dashboard. No torch."""

from kdaif.presentation import numerals
from kdaif.presentation.names import arm_name, figure_name
from kdaif.presentation.pages import environment
from kdaif.presentation.pictures import data_uri

__all__ = ["arm_name", "data_uri", "environment", "figure_name", "numerals"]
