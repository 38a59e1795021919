"""Networks of the user's own: made by a function that a plan or the command line names, and tried on two images."""

from __future__ import annotations

import inspect

import torch
from torch import nn

from efface.errors import InputError
from efface.user_code import function_named


def network_made_by(factory: str, where: str, shape: tuple[int, int, int]) -> nn.Module:
    """The network that "module:function" makes for images (c, h, w).

    It is called with the shape where it has a parameter without a default, or a first one called `shape`; else with
    nothing. where: what the user gave it as. Raises InputError for one that cannot be called, or makes no network.
    """
    function = function_named(factory, where)
    try:
        parameters = list(inspect.signature(function).parameters.values())
        by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        needed = [one for one in parameters if one.default is one.empty and one.kind in by_place]
        named = bool(parameters) and parameters[0].name == "shape"
        network: object = function(shape) if needed or named else function()
    except Exception as error:
        raise InputError(
            f"{where} '{factory}' cannot be called with the shape {shape} of an image, nor without: {first_line(error)}"
        ) from error
    if not isinstance(network, nn.Module):
        raise InputError(f"{where} '{factory}' gives {type(network).__name__}: expected a torch.nn.Module")
    return network


def untrained_answer(network: nn.Module, shape: tuple[int, int, int]) -> object:
    """What a network answers to two black images in evaluation mode; its own mode is left as it was."""
    training = network.training
    with torch.no_grad():
        answer: object = network.eval()(torch.zeros(2, *shape))
    network.train(training)
    return answer


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its kind."""
    return next(iter(str(error).splitlines()), type(error).__name__)
