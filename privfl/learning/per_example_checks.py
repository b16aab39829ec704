"""What DP-SGD cannot train, found out before it tries: layers that mix examples, and hooks that are mistaken.

Hooks see what a layer is given, and take its first axis for the examples. They do not see what a model does between
its layers. Where that goes wrong, gradients are clipped that are not those of single examples, or by norms that are
not theirs: nothing fails, and the noise is too small. So Opacus' gradients are compared with autograd's.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

from privfl.errors import ConfigurationError
from privfl.learning.models import import_torch
from privfl.learning.per_example import GradSample, check_rows, hooked, import_opacus

if TYPE_CHECKING:
    import torch


def check_supported(model: torch.nn.Module) -> None:
    """Refuse layers that mix examples or remember them.

    Raises:
        ConfigurationError: names the layer and what works.
    """
    torch = import_torch()
    import_opacus()
    from opacus.grad_sample import GradSampleModule  # noqa: PLC0415 - an extra
    from opacus.validators import ModuleValidator  # noqa: PLC0415 - an extra

    for name, layer in model.named_modules():
        # By isinstance, and of untrained layers too: Opacus looks at the exact type, and at trained layers only.
        validators = [check for kind, check in ModuleValidator.VALIDATORS.items() if isinstance(layer, kind)]
        if any(check(layer) for check in validators):
            kind = type(layer).__name__
            batch_norm = isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)  # noqa: SLF001 - has no other name
            works = "GroupNorm" if batch_norm else "what Opacus offers instead"
            raise ConfigurationError(
                f"model holds layer {name!r} of kind {kind}, which has no gradient of a single example: replace it by "
                f"{works}: opacus.validators.ModuleValidator.fix does it"
            )
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            raise ConfigurationError(
                f"model holds {name!r}, which is no parameter and would leave the client without noise: make it a "
                f"parameter with requires_grad=False, or a plain attribute"
            )
    errors = GradSampleModule.validate(model, strict=False)
    if errors:
        raise ConfigurationError(f"model has no gradients of single examples ({errors[0]}): use layers without buffers")


def check_gradients(
    model: torch.nn.Module, features: torch.Tensor, labels: torch.Tensor, *, grad_sample: GradSample
) -> None:
    """Refuse a model on which Opacus' gradients of single examples are not what autograd says.

    Called with torch's global generator seeded. The answer is the same for all examples of a shape, except for models
    that choose what to compute by what they see.

    Args:
        model: as it was given; a copy is tried out.
        features: some examples, shape (n, ...), n >= 1.
        labels: their classes, shape (n,).
        grad_sample: how gradients will be clipped.

    Raises:
        ConfigurationError: they differ, or the output for one example depends on another.
    """
    torch = import_torch()
    tried = copy.deepcopy(model).train()
    few = torch.cat([features[:3], torch.zeros_like(features[:1])])
    classes = torch.cat([labels[:3], torch.zeros_like(labels[:1])])
    _check_apart(tried, few)
    try:
        _check_against_autograd(tried, few, classes, grad_sample)
    except ConfigurationError:
        raise
    except Exception as error:  # hooks and vmap raise anything from TypeError to RuntimeError
        why = str(error).split(". ", 1)[0]  # torch's go on for a page
        raise ConfigurationError(
            f"model has no gradients of single examples under privacy.grad_sample {grad_sample.value!r} ({why}): "
            f"{_WORKS[grad_sample]}"
        ) from error


_WORKS: Final = {
    GradSample.HOOKS: "torch.nn's layers work, called on tensors of shape (n, ...) that nothing changes in place",
    GradSample.GHOST: "privacy.grad_sample 'hooks' works for more models",
}


def _check_apart(model: torch.nn.Module, features: torch.Tensor) -> None:
    """One example after the other is replaced: nothing else may change, nor what the model remembers."""
    torch = import_torch()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    state = torch.get_rng_state()
    with torch.no_grad():
        logits = model(features)
        for i in range(len(features)):
            replaced = features.clone()
            replaced[i] = features[i - 1]
            torch.set_rng_state(state)  # the same dropout
            rest = torch.arange(len(features)) != i
            if not torch.allclose(logits[rest], model(replaced)[rest], rtol=1e-5, atol=1e-6):
                raise ConfigurationError(
                    "model's output for one example depends on the others of its batch, so that no clipping bounds "
                    "what one does: use layers that treat each example alone, such as GroupNorm"
                )
    for name, buffer in model.named_buffers():
        if not torch.equal(buffer, buffers[name]):
            raise ConfigurationError(
                f"model changes {name!r} while it trains, which no noise covers: use layers that remember nothing"
            )


def _check_against_autograd(
    model: torch.nn.Module, features: torch.Tensor, labels: torch.Tensor, grad_sample: GradSample
) -> None:
    torch = import_torch()
    opacus_model = hooked(model, grad_sample, 1.0)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    losses = torch.nn.functional.cross_entropy(opacus_model(features), labels, reduction="none")
    opacus_model.disable_hooks()
    rows = [torch.autograd.grad(loss, trained.values(), retain_graph=True, allow_unused=True) for loss in losses]
    opacus_model.enable_hooks()
    for name, gradient in zip(trained, rows[0], strict=True):
        if gradient is None:
            raise ConfigurationError(f"model does not use its parameter {name!r}: set its requires_grad to False")
    losses.sum().backward()
    true = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    if grad_sample is GradSample.HOOKS:
        samples = [_whole(name, getattr(p, "grad_sample", None), len(labels)) for name, p in trained.items()]
        off = (torch.cat(samples, dim=1) - true).norm(dim=1)
    else:
        off = (opacus_model.get_norm_sample() - true.norm(dim=1)).abs()
    if not (off <= 1e-3 * true.norm(dim=1) + 1e-5).all():
        raise ConfigurationError(
            f"model's gradients of single examples are not what autograd computes, by up to {float(off.max()):.2g}: "
            f"{_WORKS[grad_sample]}"
        )


def _whole(name: str, sample: Any, examples: int) -> Any:
    if sample is None:
        raise ConfigurationError(f"model uses its parameter {name!r} outside its layer: call the layer instead")
    check_rows(len(sample), examples)
    return sample.reshape(examples, -1)
