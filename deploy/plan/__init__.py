"""Desired against actual. Pure: values in, values out."""
